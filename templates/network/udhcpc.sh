#!/bin/sh
# Called by busybox udhcpc with what a DHCP server said. udhcpc hands over addresses as dotted quads and
# numbers as digits; nothing else of what came from the network is used here.
#
# The lease's resolvers and names are left alone: unbound asks the root servers, or the forwarders of the
# configuration. /run/network/lease.eth0 is for people.
lease=/run/network/lease.$interface
# Wi-Fi has one, so that a cable goes first.
metric=${ROUTE_METRIC:+metric $ROUTE_METRIC}

case "$1" in
  deconfig)
    ip -4 addr flush dev "$interface"
    ip link set "$interface" up
    rm -f "$lease"
    ;;
  bound | renew)
    # Another address than before: the old one is not ours any more.
    for old in $(ip -4 -o addr show dev "$interface" scope global | sed -n 's/.* inet \([0-9./]*\).*/\1/p'); do
      [ "$old" = "$ip/${mask:-24}" ] || ip -4 addr del "$old" dev "$interface"
    done
    ip -4 addr replace "$ip/${mask:-24}" dev "$interface"
    [ -z "$mtu" ] || [ "$mtu" -lt 576 ] || ip link set "$interface" mtu "$mtu"
    if [ -n "$staticroutes" ]; then
      # RFC 3442: pairs of destination and gateway, which replace the router option.
      set -- $staticroutes
      while [ $# -ge 2 ]; do
        if [ "$2" = 0.0.0.0 ]; then
          ip -4 route replace "$1" dev "$interface" $metric
        else
          ip -4 route replace "$2/32" dev "$interface" $metric
          ip -4 route replace "$1" via "$2" dev "$interface" $metric
        fi
        shift 2
      done
    else
      for gateway in $router; do
        # It may lie outside the prefix, as with many hosters.
        ip -4 route replace "$gateway/32" dev "$interface" $metric
        ip -4 route replace default via "$gateway" dev "$interface" $metric
        break
      done
    fi
    printf 'interface=%s\naddress=%s/%s\ngateway=%s\nresolvers=%s\n' \
      "$interface" "$ip" "${mask:-24}" "${router%% *}" "$dns" >"$lease.tmp"
    mv "$lease.tmp" "$lease"
    ;;
esac
exit 0
