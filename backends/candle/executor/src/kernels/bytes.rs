//! What moves bytes, and looks them up: plain Rust, and the byte permutations of AVX-512 VBMI.

#[cfg(target_arch = "x86_64")]
use super::vbmi;
use super::{
    channel_blocks::{BYTES, Block, Source, windows},
    isa::Isa,
};

/// Whether to use VBMI, which not every processor with VNNI has.
#[cfg(target_arch = "x86_64")]
fn has_vbmi(isa: Isa) -> bool {
    matches!(isa, Isa::Avx512Vnni(_)) && is_x86_feature_detected!("avx512vbmi")
}

/// Writes the value of `table` for each byte of the input, which is as long as the output.
///
/// # Panics
/// Where it is not.
pub fn look_up(isa: Isa, table: &[u8; 256], input: &[u8], out: &mut [u8]) {
    assert_eq!(input.len(), out.len(), "as many bytes");
    #[cfg(target_arch = "x86_64")]
    if has_vbmi(isa) {
        // SAFETY: the instructions were detected, and there are as many bytes.
        unsafe { vbmi::look_up(table, input, out) };
        return;
    }
    let _ = isa;
    for (out, &input) in out.iter_mut().zip(input) {
        *out = table[usize::from(input)];
    }
}

/// Pixels put together of channels of other pixels.
pub struct Channels {
    /// Channels of each input.
    inputs: Vec<usize>,
    channels: usize,
    runs: Vec<Run>,
    blocks: Vec<Block>,
}

/// Neighbours in the output that are neighbours in an input.
struct Run {
    from: Source,
    to: usize,
    length: usize,
}

impl Channels {
    /// `sources` by channel of the output; `inputs` has the number of channels of each input.
    ///
    /// # Panics
    /// Where a source is not there.
    pub fn new(inputs: &[usize], sources: &[Source]) -> Self {
        let mut runs: Vec<Run> = Vec::new();
        for (to, &from) in sources.iter().enumerate() {
            assert!(from.channel < inputs[from.input], "a channel that is there");
            match runs.last_mut() {
                Some(run)
                    if run.from.input == from.input
                        && run.from.channel + run.length == from.channel =>
                {
                    run.length += 1;
                }
                _ => runs.push(Run {
                    from,
                    to,
                    length: 1,
                }),
            }
        }
        let blocks = sources.chunks(BYTES).enumerate().map(|(number, sources)| {
            let windows = windows(inputs, sources);
            Block {
                channel: number * BYTES,
                count: sources.len(),
                windows,
            }
        });
        Self {
            inputs: inputs.to_vec(),
            channels: sources.len(),
            runs,
            blocks: blocks.collect(),
        }
    }

    /// Channels of each input, and of the output.
    pub fn widths(&self) -> (&[usize], usize) {
        (&self.inputs, self.channels)
    }

    /// Puts together pixels, as many as the output has room for.
    ///
    /// # Panics
    /// Where an input has fewer.
    pub fn gather(&self, isa: Isa, inputs: &[&[u8]], out: &mut [u8]) {
        let pixels = out.len() / self.channels;
        assert_eq!(inputs.len(), self.inputs.len(), "all inputs");
        let mut widths = inputs.iter().zip(&self.inputs);
        assert!(
            widths.all(|(input, channels)| input.len() >= pixels * channels),
            "all pixels"
        );
        #[cfg(target_arch = "x86_64")]
        if has_vbmi(isa) {
            for block in &self.blocks {
                let out = &mut out[..pixels * self.channels];
                // SAFETY: the instructions were detected; the windows are within the channels of their
                // inputs, as is the block within those of the output, and there are as many pixels of all.
                unsafe { vbmi::gather(block, &self.inputs, inputs, self.channels, out) };
            }
            return;
        }
        let _ = isa;
        for run in &self.runs {
            let width = self.inputs[run.from.input];
            let from = inputs[run.from.input].chunks_exact(width);
            for (out, pixel) in out.chunks_exact_mut(self.channels).zip(from) {
                out[run.to..][..run.length]
                    .copy_from_slice(&pixel[run.from.channel..][..run.length]);
            }
        }
    }
}
