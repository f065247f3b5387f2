-- Puts messages on the two lists, unless Redis has lost its memory since the caller last looked.
--
-- KEYS[1] string  the epoch: a random value that is gone when Redis was flushed or restarted empty
-- KEYS[2] list    messages of sync rows
-- KEYS[3] list    messages of async rows
-- ARGV[1] the epoch the caller knows
-- ARGV[2] how many of the following messages are sync; the rest is async
-- ARGV[3…] messages
--
-- Returns {-1} when the epoch is another one (nothing was pushed), else {length of sync, length of async}.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return {-1}
end
local sync_count = tonumber(ARGV[2])
for index = 3, #ARGV do
    redis.call('RPUSH', index - 2 <= sync_count and KEYS[2] or KEYS[3], ARGV[index])
end
return {redis.call('LLEN', KEYS[2]), redis.call('LLEN', KEYS[3])}
