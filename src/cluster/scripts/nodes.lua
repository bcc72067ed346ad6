-- Registers or removes a node.
-- KEYS: the nodes, by the time of their latest registration
-- ARGV: node, the ms of silence after which a node is no longer live, 1 if it is live
-- Returns: the live nodes
if ARGV[3] == '1' then
  redis.call('ZADD', KEYS[1], whole(now), ARGV[1])
else
  redis.call('ZREM', KEYS[1], ARGV[1])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now - ARGV[2]))
return redis.call('ZRANGE', KEYS[1], 0, -1)
