-- Takes what one worker process may hold now, sync messages first, and tells the relay when the window runs low.
-- The pop is destructive on purpose: the lease in PostgreSQL is the truth, a lost pop is published again.
--
-- KEYS[1] list    messages of sync rows
-- KEYS[2] list    messages of async rows
-- KEYS[3] string  set by a relay that has more rows than room: wake it at this many messages or fewer
-- KEYS[4] list    the relay's wake token
-- ARGV[1] most sync rows, ARGV[2] most async rows
-- ARGV[3] milliseconds of work (the relay's estimate), ARGV[4] bytes of payload: neither is exceeded but by the first message
--
-- Returns the messages, sync ones first.
local popped = {}
local spent_ms, spent_bytes = 0, 0

local function take(list, most_rows)
    if most_rows <= 0 then
        return
    end
    local waiting = redis.call('LRANGE', list, 0, most_rows - 1)
    local rows, taken = 0, 0
    for _, message in ipairs(waiting) do
        local readable, content = pcall(cjson.decode, message)
        -- A message nobody can read still has to leave the list: the worker drops and counts it.
        local size, ms, bytes = 1, 0, 0
        if readable and type(content) == 'table' and type(content.kwargs) == 'table' and type(content.args) == 'table'
            and type(content.args[1]) == 'table' then
            size = #content.args[1]
            ms = tonumber(content.kwargs.ms) or 0
            bytes = tonumber(content.kwargs.bytes) or 0
        end
        local fits = rows + size <= most_rows and spent_ms + ms <= tonumber(ARGV[3]) and spent_bytes + bytes <= tonumber(ARGV[4])
        if not fits and #popped > 0 then
            break
        end
        popped[#popped + 1] = message
        rows, taken = rows + size, taken + 1
        spent_ms, spent_bytes = spent_ms + ms, spent_bytes + bytes
        if not fits then
            break
        end
    end
    if taken > 0 then
        redis.call('LTRIM', list, taken, -1)
    end
end

take(KEYS[1], tonumber(ARGV[1]))
take(KEYS[2], tonumber(ARGV[2]))

local wake_at = redis.call('GET', KEYS[3])
if wake_at and redis.call('LLEN', KEYS[1]) + redis.call('LLEN', KEYS[2]) <= tonumber(wake_at) then
    redis.call('DEL', KEYS[3])
    if redis.call('LLEN', KEYS[4]) == 0 then
        redis.call('RPUSH', KEYS[4], '1')
    end
end
return popped
