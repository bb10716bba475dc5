-- Asks the relay about names and passwords, over HTTP on a unix socket (appliance/dovecot-auth/http-server.ts).

local client = nil

-- Runs after the process has dropped its privileges, once in each worker.
local function relay()
  if client == nil then
    client = dovecot.http.client({
      proxy_socket_path = "/run/relay/dovecot/auth.sock",
      request_timeout = "30s",
      request_max_attempts = 2,
    })
  end
  return client
end

local function escape(text)
  return (text:gsub("[^%w._-]", function(character)
    return string.format("%%%02X", string.byte(character))
  end))
end

local function ask(path, form)
  local request = relay():request({ url = "http://relay" .. path, method = "POST" })
  request:add_header("Content-Type", "application/x-www-form-urlencoded")
  request:set_payload(form)
  return request:submit()
end

function auth_password_verify(request, password)
  local answer = ask("/login", "user=" .. escape(request.user) .. "&password=" .. escape(password))
  local status = answer:status()
  if status == 403 then
    return dovecot.auth.PASSDB_RESULT_PASSWORD_MISMATCH, "refused"
  end
  local address, home = answer:payload():match("^([^\n]+)\n([^\n]+)\n$")
  if status ~= 200 or address == nil then
    return dovecot.auth.PASSDB_RESULT_INTERNAL_FAILURE, "relay answered " .. status
  end
  return dovecot.auth.PASSDB_RESULT_OK, { user = address, userdb_home = home }
end

function auth_userdb_lookup(request)
  local answer = ask("/lookup", "user=" .. escape(request.user) .. "&service=" .. escape(request.protocol or ""))
  local status = answer:status()
  if status == 404 then
    return dovecot.auth.USERDB_RESULT_USER_UNKNOWN, "unknown"
  end
  local address, home = answer:payload():match("^([^\n]+)\n([^\n]+)\n$")
  if status ~= 200 or address == nil then
    return dovecot.auth.USERDB_RESULT_INTERNAL_FAILURE, "relay answered " .. status
  end
  -- auth answers a process that is not root only about users with its own uid.
  return dovecot.auth.USERDB_RESULT_OK,
    { user = address, home = home, uid = "104", gid = "104" }
end
