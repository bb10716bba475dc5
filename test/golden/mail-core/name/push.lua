-- Tells the relay of each delivery, so that it wakes the recipient's devices (appliance/push/notifier.ts).
-- A failure here never fails the delivery.

local client = nil

local function escape(text)
  return (text:gsub("[^%w._-]", function(character)
    return string.format("%%%02X", string.byte(character))
  end))
end

function dovecot_lua_notify_begin_txn(user)
  return { user = user }
end

function dovecot_lua_notify_event_message_new(context, event)
  pcall(function()
    if client == nil then
      client = dovecot.http.client({
        proxy_socket_path = "/run/relay/dovecot/auth.sock",
        request_timeout = "2s",
        request_max_attempts = 1,
      })
    end
    local request = client:request({ url = "http://relay/delivered", method = "POST" })
    request:add_header("Content-Type", "application/x-www-form-urlencoded")
    request:set_payload(
      "user=" .. escape(context.user.username) .. "&from=" .. escape(event.from_address or "")
    )
    request:submit()
  end)
end

function dovecot_lua_notify_end_txn(context, success)
end
