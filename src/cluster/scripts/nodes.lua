-- A node says that it is there, or that it goes.
-- KEYS: the nodes, by when they said so
-- ARGV: node, after how many ms of silence one no longer counts, 1 if it is there
-- Returns: all nodes
if ARGV[3] == '1' then
  redis.call('ZADD', KEYS[1], whole(now), ARGV[1])
else
  redis.call('ZREM', KEYS[1], ARGV[1])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now - ARGV[2]))
return redis.call('ZRANGE', KEYS[1], 0, -1)
