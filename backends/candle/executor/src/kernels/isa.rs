//! The instruction sets that the integer kernels are written for.

/// The instruction set that the integer kernels use. One that this machine does not have cannot be made.
///
/// ```compile_fail
/// let isa: firstpass_candle::Isa = firstpass_candle::Isa::Avx2;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// Plain Rust; the definition of every result.
    Reference,
    /// 16-bit multiply-add (`vpmaddwd`) on activations and weights widened to 16 bits.
    #[cfg(target_arch = "x86_64")]
    Avx2(Detected),
    /// `vpdpbusd` on u8 activations and i8 weights for matrices; AVX2 for the rest.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(Detected),
}

/// Proof that the processor has an instruction set: only [`Isa::available`] makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detected(());

impl Isa {
    /// What this machine has, the fastest first; never empty.
    pub fn available() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni")
            {
                found.push(Self::Avx512Vnni(Detected(())));
            }
            if avx2 {
                found.push(Self::Avx2(Detected(())));
            }
        }
        found.push(Self::Reference);
        found
    }

    /// The fastest that this machine has.
    pub fn detect() -> Self {
        Self::available()
            .first()
            .copied()
            .unwrap_or(Self::Reference)
    }

    /// The one of this name; `None` where this machine does not have it.
    pub fn named(name: &str) -> Option<Self> {
        let mut available = Self::available().into_iter();
        available.find(|isa| isa.name() == name)
    }

    /// Calls `work`, which is compiled once more for this instruction set: rounding, fused
    /// multiply-add and wide vectors are single instructions there.
    #[inline(always)]
    pub fn run<R>(self, work: impl FnOnce() -> R) -> R {
        match self {
            Self::Reference => work(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => {
                // SAFETY: this instruction set is chosen only where it was detected.
                unsafe { with_avx2(work) }
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni(_) => {
                // SAFETY: as above.
                unsafe { with_avx512(work) }
            }
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni(_) => "avx512-vnni",
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn with_avx2<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma")]
fn with_avx512<R>(work: impl FnOnce() -> R) -> R {
    work()
}
