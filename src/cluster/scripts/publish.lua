-- Hands a clip to every node that wants it. Called again with the same number, it does nothing: an answer may be lost.
-- KEYS: record, clips, channel
-- ARGV: epoch, number of the clip within the epoch, lease ms, clips and bytes that are kept, the command to publish with,
--       the message up to the sequence, the message from there on, the sequence before it as the holder knows it
-- Returns: the sequence; 0 if another epoch is good now, -1 if the record is not the epoch's or not live: a pulse tells
local record = read()
local mine = tonumber(ARGV[1])
if record and record.epoch > mine then return 0 end
if not record or record.epoch < mine or record.expired or redis.call('HGET', KEYS[1], 'phase') ~= 'live' then return -1 end
local number = tonumber(ARGV[2])
if number <= record.count then return record.sequence - (record.count - number) end
-- An engine that was started from an old copy of its memory knows less than the holder: no sequence is given twice.
local sequence = math.max(record.sequence, tonumber(ARGV[9])) + 1
local message = ARGV[7] .. struct.pack('>I8', sequence) .. ARGV[8]
redis.call('HSET', KEYS[1], 'sequence', whole(sequence), 'count', whole(number), 'till', whole(now + ARGV[3]))
keep(record.grace)
-- The latest clips, for nodes that missed some: what is too much goes, oldest first.
local kept = redis.call('EXISTS', KEYS[2]) == 1 and tonumber(redis.call('HGET', KEYS[1], 'kept') or 0) or 0
local length = redis.call('RPUSH', KEYS[2], message)
kept = kept + #message
while length > 0 and (length > tonumber(ARGV[4]) or kept > tonumber(ARGV[5])) do
  kept = kept - #redis.call('LPOP', KEYS[2])
  length = length - 1
end
redis.call('HSET', KEYS[1], 'kept', whole(kept))
redis.call('PEXPIRE', KEYS[2], whole(record.grace * 2 + ARGV[3]))
redis.call(ARGV[6], KEYS[3], message)
return sequence
