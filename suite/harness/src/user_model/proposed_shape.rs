//! A shape to propose for an input whose file leaves lengths open, so that a user has a command to copy.

/// A second of sound, at the rate that most models of speech take.
const SAMPLES: usize = 16_000;
/// What is long enough to show something, and short enough for every model of words.
const STEPS: usize = 128;
/// The side of a picture.
const SIDE: usize = 224;

/// A shape of an input, by its name and each length or what the file calls it: a picture has four axes, its channels
/// before or behind the others; sound is named as such; anything else is a sequence.
pub fn proposed(name: &str, lengths: &[Result<usize, String>]) -> String {
    let is_channels = |axis: usize| matches!(lengths.get(axis), Some(Ok(1 | 3 | 4)));
    let is_picture = lengths.len() == 4;
    // Sound has one or two channels; what has more is bands of frequencies.
    let may_be_sound = lengths.iter().skip(1).flatten().all(|&length| length <= 2);
    let channels = if is_channels(3) && !is_channels(1) {
        3
    } else {
        1
    };
    let lengths = lengths.iter().enumerate().map(|(axis, length)| {
        let called = match length {
            Ok(length) => return length.to_string(),
            Err(called) => called,
        };
        let proposed = match axis {
            0 => 1,
            _ if is_picture && axis == channels => 3,
            _ if is_picture => SIDE,
            _ if may_be_sound && (is_sound(name) || is_sound(called)) => SAMPLES,
            _ => STEPS,
        };
        proposed.to_string()
    });
    lengths.collect::<Vec<_>>().join("x")
}

/// Whether a name is one of sound as it is sampled.
fn is_sound(name: &str) -> bool {
    let name = name.to_lowercase();
    let mut words = name.split(|c: char| !c.is_alphanumeric());
    let is_word = |word: &str| matches!(word, "pcm" | "wav" | "samples" | "speech");
    name.contains("audio") || name.contains("waveform") || words.any(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shape that is proposed where lengths are numbers or names.
    fn of(name: &str, lengths: &str) -> String {
        let length = |word: &str| word.parse().map_err(|_| word.to_owned());
        proposed(name, &lengths.split(' ').map(length).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_proposed_fits_what_names_and_lengths_say() {
        for (name, lengths, expected) in [
            ("image", "batch 3 height width", "1x3x224x224"),
            ("image", "batch channels height width", "1x3x224x224"),
            ("image", "batch 1 height width", "1x1x224x224"),
            ("image", "batch height width 3", "1x224x224x3"),
            ("ids", "batch sequence", "1x128"),
            ("audio", "batch time", "1x16000"),
            ("input", "batch samples", "1x16000"),
            ("input", "batch 1 num_samples", "1x1x16000"),
            ("audio_features", "batch 80 time", "1x80x128"),
            // No sound, whatever it looks like.
            ("resampled", "batch n", "1x128"),
            ("x", "n", "1"),
        ] {
            assert_eq!(of(name, lengths), expected, "{name}: {lengths}");
        }
    }
}
