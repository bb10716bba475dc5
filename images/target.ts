/** What an image is made of: data only. One file a target beside this one. */

/** Why a package that something depends on is left out all the same. */
export type Excludes = Readonly<Record<string, string>>;

export interface NpmPin {
  readonly name: string;
  readonly version: string;
  /** `sha512-…`, as npm's lockfiles have it. */
  readonly integrity: string;
}

/** Device trees beside the kernel, by the names that firmware looks for. */
export interface DeviceTrees {
  /** The name on BOOT, and which of the kernel package's it is. */
  readonly files: Readonly<Record<string, string>>;
  /**
   * Overlays that firmware applies by itself where it finds them: what makes of the first device tree the
   * second. The kernel package has whole device trees only.
   */
  readonly overlays: Readonly<Record<string, { readonly from: string; readonly to: string }>>;
}

export interface Target {
  readonly name: string;
  /** One line for people: what it runs on. */
  readonly title: string;
  readonly architecture: 'amd64' | 'arm64';
  /** Debian suites, the security suite among them. */
  readonly suites: readonly string[];
  readonly components: readonly string[];
  /** Packages whose files make up the root filesystem, with all they depend on. */
  readonly rootPackages: readonly string[];
  /** Packages of which only the files that match go to the root; their dependencies are not followed. */
  readonly pickedFiles: Readonly<Record<string, readonly RegExp[]>>;
  /** Packages of which single files go to BOOT; their dependencies are not followed. */
  readonly bootPackages: readonly string[];
  readonly excludes: Excludes;
  /** Paths of packages that are left out of the root: a path itself, or all below it. */
  readonly dropped: readonly string[];
  /** Links that Debian's maintainer scripts would make in the root. */
  readonly links?: Readonly<Record<string, string>>;
  /** Exceptions to `dropped`. */
  readonly kept: readonly RegExp[];
  /** Kernel modules (with all they need) in the initramfs, in loading order where that matters. */
  readonly initramfsModules: readonly string[];
  /** Kernel modules (with all they need) in the root, for what is found at run time. */
  readonly rootModules: readonly string[];
  readonly node: NpmPin;
  /** How BOOT starts a kernel. */
  readonly loaders: {
    /** As UEFI names the architecture in BOOTX64.EFI, BOOTAA64.EFI. */
    readonly efi?: 'x64' | 'aa64';
    readonly bios: boolean;
    /** The firmware of a Raspberry Pi, which starts the kernel itself. */
    readonly raspberryPi?: DeviceTrees;
  };
  readonly kernelArguments: readonly string[];
}
