-- Wakes one relay; a burst of writers leaves one token.
--
-- KEYS[1] list  the wake token
if redis.call('LLEN', KEYS[1]) == 0 then
    redis.call('RPUSH', KEYS[1], '1')
end
return 1
