-- KEYS: the livestreams to check, by the time of the check
-- ARGV: the ms until the check, 1 if an earlier check stays as it is, the livestreams
for at = 3, #ARGV do
  if ARGV[2] == '1' then
    redis.call('ZADD', KEYS[1], 'LT', whole(now + ARGV[1]), ARGV[at])
  else
    redis.call('ZADD', KEYS[1], whole(now + ARGV[1]), ARGV[at])
  end
end
return 1
