-- KEYS: the livestreams to check, by the time of the check
-- ARGV: the most livestreams, the ms after which other nodes check them if this node does not
-- Returns: the time when other nodes check them, and the livestreams that are due; no other node gets them until then
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', whole(now), 'LIMIT', 0, ARGV[1])
for _, id in ipairs(due) do redis.call('ZADD', KEYS[1], whole(now + ARGV[2]), id) end
return { whole(now + ARGV[2]), due }
