-- What every script that is about a livestream goes on with. Its record is a hash:
--   epoch     rises with every new holder, for ever: the engine's clock in microseconds, or one more than before
--   node      which node holds it
--   phase     live, grace or ended, as of the last word from its holder
--   till      until when that is so, in milliseconds of the engine's clock
--   grace     how long the grace is, in milliseconds
--   sequence  of its latest clip
--   count     clips published in this epoch
--   since     when its streamer came, in milliseconds
--   kept      bytes of the clips that are kept
local read = function()
  local fields = redis.call('HMGET', KEYS[1], 'epoch', 'node', 'phase', 'till', 'grace', 'sequence', 'count', 'since')
  if not fields[1] then return nil end
  local record = {
    epoch = tonumber(fields[1]), node = fields[2], phase = fields[3], till = tonumber(fields[4]),
    grace = tonumber(fields[5]), sequence = tonumber(fields[6]), count = tonumber(fields[7]),
    since = tonumber(fields[8]),
  }
  -- What time has made of it: a holder that gives no sign is lost, a grace runs out.
  record.left = record.till - now
  if record.phase == 'live' and record.left <= 0 then
    record.phase = 'grace'
    record.left = record.left + record.grace
  end
  if record.phase == 'grace' and record.left <= 0 then
    record.phase = 'ended'
    record.expired = true
  end
  return record
end

-- Kept for long after its end, so that whoever comes late learns of that, too.
local keep = function(grace) redis.call('PEXPIRE', KEYS[1], whole(grace * 2 + 120000)) end
