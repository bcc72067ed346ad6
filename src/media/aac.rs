//! AAC-LC: the configuration that ADTS headers, m4a files and CMAF headers state, each in its own way.

use super::Unplayable;

/// Samples of each channel in one frame.
pub(super) const FRAME_SAMPLES: u32 = 1024;

/// Samples per second, by the index that AAC writes instead of the number.
const SAMPLE_RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];

/// Sample rate and channels of AAC-LC with frames of 1024 samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AacConfig {
    rate_index: u8,
    channel_configuration: u8,
}

impl AacConfig {
    /// From the two numbers as AAC writes them.
    pub(super) fn new(rate_index: u8, channel_configuration: u8) -> Result<Self, Unplayable> {
        if usize::from(rate_index) >= SAMPLE_RATES.len() {
            return Err(Unplayable::Format("AAC with an unusual sample rate"));
        }
        if !(1..=7).contains(&channel_configuration) {
            return Err(Unplayable::Format("AAC with its own channel layout"));
        }
        Ok(Self {
            rate_index,
            channel_configuration,
        })
    }

    /// From samples per second and the number of channels.
    pub fn with(sample_rate: u32, channels: u16) -> Option<Self> {
        let rate_index = SAMPLE_RATES.iter().position(|rate| *rate == sample_rate)?;
        let channel_configuration = match channels {
            8 => 7,
            1..=6 => u8::try_from(channels).ok()?,
            _ => return None,
        };
        Self::new(u8::try_from(rate_index).ok()?, channel_configuration).ok()
    }

    /// From the `AudioSpecificConfig` of an m4a file.
    pub(super) fn from_specific_config(config: &[u8]) -> Result<Self, Unplayable> {
        let [first, second, ..] = *config else {
            return Err(Unplayable::Damaged("its AAC configuration is too short"));
        };
        match first >> 3 {
            2 => {}
            5 | 29 => return Err(Unplayable::Format("HE-AAC")),
            _ => return Err(Unplayable::Format("AAC other than LC")),
        }
        // Frames of 960 samples, or a second coder.
        if second & 0b110 != 0 {
            return Err(Unplayable::Format("AAC other than LC"));
        }
        Self::new((first & 0b111) << 1 | second >> 7, (second >> 3) & 0b1111)
    }

    /// The `AudioSpecificConfig`.
    pub(super) fn specific_config(self) -> [u8; 2] {
        [
            2 << 3 | self.rate_index >> 1,
            self.rate_index << 7 | self.channel_configuration << 3,
        ]
    }

    /// Samples per second of each channel.
    pub fn sample_rate(self) -> u32 {
        SAMPLE_RATES[usize::from(self.rate_index)]
    }

    /// The number of channels.
    pub fn channels(self) -> u16 {
        match self.channel_configuration {
            7 => 8,
            channels => u16::from(channels),
        }
    }

    pub(super) fn rate_index(self) -> u8 {
        self.rate_index
    }

    pub(super) fn channel_configuration(self) -> u8 {
        self.channel_configuration
    }
}
