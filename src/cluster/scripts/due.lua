-- KEYS: the livestreams to look at, by when
-- ARGV: how many at the most, after how many ms others look at them if this node does not
-- Returns: by when others look at them, and those that are due, which no other node is told at the same time
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', whole(now), 'LIMIT', 0, ARGV[1])
for _, id in ipairs(due) do redis.call('ZADD', KEYS[1], whole(now + ARGV[2]), id) end
return { whole(now + ARGV[2]), due }
