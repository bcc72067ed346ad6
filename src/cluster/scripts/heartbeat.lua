-- A node reads a record, says how many listen there, and, as the owner, renews its lease.
-- KEYS: record, listeners by node, history
-- ARGV: node, listeners (-1: reads only), for how many ms they count, its epoch (0: it is not the owner), lease ms,
--       grace ms, the latest sequence as the owner knows it, 1 if it writes a record again that was lost
-- Returns: the record, how many listen on other nodes, 1 if the record was lost and is written again
local record, restored = read(), '0'
local mine = tonumber(ARGV[4])
if mine > 0 and record.epoch < mine and ARGV[8] == '1' then
  -- Lost, or from an old copy of Redis's memory. The history is only as long as this memory says.
  redis.call('HSET', KEYS[1], 'epoch', ARGV[4], 'node', ARGV[1], 'phase', 'live', 'until', whole(now + ARGV[5]),
    'grace', ARGV[6], 'sequence', whole(record.sequence), 'known', ARGV[7])
  keep(ARGV[6])
  record, restored = read(), '1'
elseif mine > 0 and record.epoch == mine and record.stored == 'live' then
  redis.call('HSET', KEYS[1], 'until', whole(now + ARGV[5]))
  keep(ARGV[6])
  redis.call('PEXPIRE', KEYS[3], whole(ARGV[6] * 2 + 120000))
  record.phase, record.left = 'live', tonumber(ARGV[5])
end

local elsewhere = 0
if ARGV[2] ~= '-1' then
  if ARGV[2] == '0' then
    redis.call('HDEL', KEYS[2], ARGV[1])
  else
    redis.call('HSET', KEYS[2], ARGV[1], ARGV[2] .. ':' .. whole(now + ARGV[3]))
    redis.call('PEXPIRE', KEYS[2], whole(ARGV[3] * 2))
  end
  local listeners = redis.call('HGETALL', KEYS[2])
  for at = 1, #listeners, 2 do
    local count, till = string.match(listeners[at + 1], '(%d+):(%d+)')
    if tonumber(till) <= now then
      redis.call('HDEL', KEYS[2], listeners[at])
    elseif listeners[at] ~= ARGV[1] then
      elsewhere = elsewhere + count
    end
  end
end
return { told(record), whole(elsewhere), restored }
