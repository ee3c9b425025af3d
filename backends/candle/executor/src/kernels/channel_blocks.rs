//! Which neighbouring bytes a vector of channels is put together of.

/// Bytes of a vector.
pub const BYTES: usize = 64;

/// Which channel of an input a channel of the output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    pub input: usize,
    pub channel: usize,
}

/// As many channels of the output as a vector has bytes, or the last ones.
pub struct Block {
    /// The first.
    pub channel: usize,
    pub count: usize,
    pub windows: Vec<Window>,
}

/// A vector of neighbours in an input, of which a block has some.
pub struct Window {
    /// The first.
    pub from: Source,
    /// How many of them the input has.
    pub count: usize,
    /// By channel of the block, which of them it is, where it is one of these.
    pub index: [u8; BYTES],
    pub mask: u64,
}

/// Few windows that have all sources.
pub fn windows(inputs: &[usize], sources: &[Source]) -> Vec<Window> {
    let mut rest: Vec<(usize, Source)> = sources.iter().copied().enumerate().collect();
    rest.sort_by_key(|(_, from)| (from.input, from.channel));
    let mut windows = Vec::new();
    while let Some(&(_, from)) = rest.first() {
        let mut window = Window {
            from,
            count: (inputs[from.input] - from.channel).min(BYTES),
            index: [0; BYTES],
            mask: 0,
        };
        rest.retain(|&(lane, source)| {
            let at = source.channel - from.channel.min(source.channel);
            let is_here = source.input == from.input && at < BYTES;
            if is_here {
                // Less than the bytes of a vector.
                window.index[lane] = at as u8;
                window.mask |= 1 << lane;
            }
            !is_here
        });
        windows.push(window);
    }
    windows
}
