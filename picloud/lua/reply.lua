-- Puts answers into the inbox of the web process that waits for them, if it still lives.
--
-- KEYS[1] list    the inbox
-- KEYS[2] string  exists while the owner of the inbox is alive
-- ARGV[1] seconds after which an inbox nobody reads is forgotten
-- ARGV[2…] answers
--
-- Returns 1, or 0 when nobody listens: RPUSH alone always succeeds.
if redis.call('EXISTS', KEYS[2]) == 0 then
    return 0
end
for index = 2, #ARGV do
    redis.call('RPUSH', KEYS[1], ARGV[index])
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
