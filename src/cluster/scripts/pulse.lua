-- A node looks at a livestream, says how many listen there, and, if it holds it, that it still does.
-- KEYS: record, presence
-- ARGV: node, listeners (-1: only looks), until when they are believed in ms, its epoch (0: it is not the holder),
--       lease ms, grace ms, sequence and since as the holder knows them
-- Returns: epoch, node, phase (or none), ms left, sequence, listeners elsewhere, 1 if this call ended what had run out
--          of time, 1 if the record was lost and is there again
local record = read()
local again, expired = '0', '0'
local mine = tonumber(ARGV[4])
-- A record from before the epoch is from an old copy of the engine's memory: what came after it is lost.
if mine > 0 and (not record or record.epoch < mine) then
  redis.call('HSET', KEYS[1], 'epoch', ARGV[4], 'node', ARGV[1], 'phase', 'live', 'till', '0', 'grace', ARGV[6],
    'sequence', ARGV[7], 'count', '0', 'since', ARGV[8])
  record = read()
  again = '1'
end
if mine > 0 and record.epoch == mine and (record.phase ~= 'ended' or record.expired) then
  record.sequence = math.max(record.sequence, tonumber(ARGV[7]))
  redis.call('HSET', KEYS[1], 'phase', 'live', 'till', whole(now + ARGV[5]), 'sequence', whole(record.sequence))
  record.phase, record.left = 'live', tonumber(ARGV[5])
  keep(ARGV[6])
elseif record and record.expired and record.left < -ARGV[5] / 2 then
  -- Nobody has looked for a while: nodes were cut off, or the engine's memory is an old copy. Whoever holds it has time to say so.
  redis.call('HSET', KEYS[1], 'phase', 'grace', 'till', whole(now + ARGV[5]))
  record.phase, record.left = 'grace', tonumber(ARGV[5])
  keep(ARGV[6])
elseif record and record.expired then
  redis.call('HSET', KEYS[1], 'phase', 'ended')
  expired = '1'
end

local elsewhere = 0
if ARGV[2] ~= '-1' then
  if ARGV[2] == '0' then
    redis.call('HDEL', KEYS[2], ARGV[1])
  else
    redis.call('HSET', KEYS[2], ARGV[1], ARGV[2] .. ':' .. whole(now + ARGV[3]))
    redis.call('PEXPIRE', KEYS[2], whole(ARGV[3] * 2))
  end
  local presence = redis.call('HGETALL', KEYS[2])
  for at = 1, #presence, 2 do
    local count, till = string.match(presence[at + 1], '(%d+):(%d+)')
    if tonumber(till) <= now then
      redis.call('HDEL', KEYS[2], presence[at])
    elseif presence[at] ~= ARGV[1] then
      elsewhere = elsewhere + count
    end
  end
end
if not record then return { '0', '', 'none', '0', '0', whole(elsewhere), '0', '0' } end
return { whole(record.epoch), record.node, record.phase, whole(math.max(record.left, 0)), whole(record.sequence),
  whole(elsewhere), expired, again }
