-- The record of a livestream is a hash:
--   epoch     rises with every new owner: Redis's clock in microseconds, or one more than before
--   node      the owner
--   phase     the reported phase: live, grace or ended
--   until     the end of that phase, in milliseconds of Redis's clock
--   grace     the grace period, in milliseconds
--   sequence  of the latest clip in the history
--   known     the highest sequence in use, if Redis lost some of the history
--   came      when the owner's streamer came, in microseconds of Redis's clock
--   recording whether clips are recorded, as the owner says
local read = function()
  local fields = redis.call('HMGET', KEYS[1], 'epoch', 'node', 'phase', 'until', 'grace', 'sequence', 'came', 'recording')
  if not fields[1] then
    return { epoch = 0, node = '', phase = 'missing', left = 0, grace = 0, sequence = 0, came = 0, recording = '' }
  end
  local record = {
    epoch = tonumber(fields[1]), node = fields[2], phase = fields[3], stored = fields[3],
    left = tonumber(fields[4]) - now, grace = tonumber(fields[5]), sequence = tonumber(fields[6]),
    came = tonumber(fields[7] or 0), recording = fields[8] or '',
  }
  -- The phase by now: a silent owner is lost, a grace period is over.
  if record.phase == 'live' and record.left <= 0 then
    record.phase = 'grace'
    record.left = record.left + record.grace
  end
  if record.phase == 'grace' and record.left <= 0 then record.phase = 'expired' end
  return record
end

local told = function(record)
  local left = whole(math.max(record.left, 0))
  return { whole(now), whole(record.epoch), record.node, record.phase, left, whole(record.sequence), whole(record.came), record.recording }
end

-- The record outlives its end for long, so that a node that was away learns of the end too.
local keep = function(grace) redis.call('PEXPIRE', KEYS[1], whole(grace * 2 + 120000)) end
