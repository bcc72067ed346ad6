-- Reads a record, reports the number of listeners on a node, and renews the lease if the node is the owner.
-- KEYS: record, listeners by node, history, ids of clips
-- ARGV: node, listeners (-1: only read), the ms for which they count, its epoch (0: it is not the owner), lease ms,
--       grace ms, the latest sequence known to the owner, 1 if it may write a lost record again, when its streamer came,
--       whether the owner records clips (empty: it does not say)
-- Returns: the record, the number of listeners on other nodes, 1 if a lost record was written again
local record, restored = read(), '0'
local say_recording = function()
  if ARGV[10] == '' then return end
  redis.call('HSET', KEYS[1], 'recording', ARGV[10])
  record.recording = ARGV[10]
end
local mine = tonumber(ARGV[4])
if mine > 0 and record.epoch < mine and ARGV[8] == '1' then
  -- Lost, or from an old copy of Redis's memory. The history is only as long as that copy says.
  redis.call('HSET', KEYS[1], 'epoch', ARGV[4], 'node', ARGV[1], 'phase', 'live', 'until', whole(now + ARGV[5]),
    'grace', ARGV[6], 'sequence', whole(record.sequence), 'known', ARGV[7], 'came', ARGV[9])
  keep(ARGV[6])
  say_recording()
  record, restored = read(), '1'
elseif mine > 0 and record.epoch == mine and record.stored == 'live' then
  redis.call('HSET', KEYS[1], 'until', whole(now + ARGV[5]), 'came', ARGV[9])
  keep(ARGV[6])
  redis.call('PEXPIRE', KEYS[3], whole(ARGV[6] * 2 + 120000))
  redis.call('PEXPIRE', KEYS[4], whole(ARGV[6] * 2 + 120000))
  say_recording()
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
