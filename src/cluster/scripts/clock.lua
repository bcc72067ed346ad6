-- Every script starts with Redis's clock, the only clock that all nodes share, in milliseconds.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local whole = function(number) return string.format('%.0f', number) end

