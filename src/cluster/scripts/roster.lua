-- A node says that it is there, or that it goes.
-- KEYS: the nodes
-- ARGV: node, after how long a silence in ms one counts no more, 1 if it is there
-- Returns: how many nodes there are
if ARGV[3] == '1' then
  redis.call('ZADD', KEYS[1], whole(now), ARGV[1])
else
  redis.call('ZREM', KEYS[1], ARGV[1])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now - ARGV[2]))
return redis.call('ZCARD', KEYS[1])
