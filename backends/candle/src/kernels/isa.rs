//! The instruction sets that the integer kernels are written for.

/// The instruction set that the integer kernels use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// Plain Rust; the definition of every result.
    Reference,
    /// 16-bit multiply-add (`vpmaddwd`) on activations and weights widened to 16 bits.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// `vpdpbusd` on u8 activations and i8 weights for matrices; AVX2 for the rest.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
}

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
                found.push(Self::Avx512Vnni);
            }
            if avx2 {
                found.push(Self::Avx2);
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

    pub fn name(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => "avx512-vnni",
        }
    }
}
