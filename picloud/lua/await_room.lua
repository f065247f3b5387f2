-- Asks to be woken when the lists have run half empty; said by a relay that has more rows than room.
--
-- KEYS[1] list    messages of sync rows
-- KEYS[2] list    messages of async rows
-- KEYS[3] string  where pop.lua finds the threshold
-- ARGV[1] seconds after which the wish is forgotten
--
-- Returns the number of messages that wait; 0 when there is room already.
local waiting = redis.call('LLEN', KEYS[1]) + redis.call('LLEN', KEYS[2])
if waiting > 0 then
    redis.call('SET', KEYS[3], math.floor(waiting / 2), 'EX', ARGV[1])
end
return waiting
