//! What one core multiplies and adds at most: the roof over the speed of integer convolutions
//! (Williams, Waterman and Patterson, "Roofline", 2009).

use std::time::{Duration, Instant};

/// Instructions that multiply u8 activations by i8 weights and add, in registers. Loads, stores and
/// requantization would come on top.
pub struct MultiplyAdd {
    pub name: &'static str,
    /// Repeats them for about a millisecond, with operands that are all 1, and returns one of its sums.
    run: fn() -> u32,
    /// What that sum must be: products that were added to it.
    products: u32,
    /// Sums that are added to.
    sums: u32,
}

impl MultiplyAdd {
    /// What a round multiplies and adds.
    pub fn of_a_round(&self) -> u64 {
        u64::from(self.products) * u64::from(self.sums)
    }

    /// How long a round takes on the calling thread.
    pub fn round(&self) -> Duration {
        let began = Instant::now();
        let sum = (self.run)();
        let time = began.elapsed();
        assert_eq!(sum, self.products, "{} dropped products", self.name);
        time
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::multiply_adds_of;

/// No peak is known of another architecture.
#[cfg(not(target_arch = "x86_64"))]
pub fn multiply_adds_of(_: &str) -> Vec<MultiplyAdd> {
    Vec::new()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;

    use super::MultiplyAdd;

    /// Times that the instructions of a function below are repeated in a round.
    const REPEATS: u32 = 500_000;

    /// The ways in which kernels of an instruction set can multiply and add.
    pub fn multiply_adds_of(isa: &str) -> Vec<MultiplyAdd> {
        let mut ways = Vec::new();
        if isa == "avx2" && is_x86_feature_detected!("avx2") {
            ways.push(MultiplyAdd {
                name: "vpmaddwd",
                // SAFETY: the machine has AVX2.
                run: || unsafe { maddwd() },
                products: 2 * REPEATS,
                sums: 8 * SUMS,
            });
            ways.push(MultiplyAdd {
                name: "vpmaddubsw",
                // SAFETY: the machine has AVX2.
                run: || unsafe { maddubsw() },
                products: 4 * REPEATS,
                sums: 8 * SUMS,
            });
        }
        if isa == "avx512-vnni"
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vnni")
        {
            ways.push(MultiplyAdd {
                name: "vpdpbusd",
                // SAFETY: the machine has AVX-512 VNNI.
                run: || unsafe { dpbusd() },
                products: 4 * REPEATS,
                sums: 16 * SUMS,
            });
        }
        ways
    }

    /// A function that repeats instructions, written in assembly so that no compiler merges, moves or
    /// drops any. All operands are 1, so that the sum that it returns tells how often it has added.
    macro_rules! repeated {
        ($name:ident, $features:literal, $ones:literal, $($instruction:expr),*) => {
            #[target_feature(enable = $features)]
            fn $name() -> u32 {
                let sum: u32;
                // SAFETY: only two registers and vector registers change, of which the compiler is told,
                // and memory is not used.
                unsafe {
                    asm!(
                        // Also clears the upper parts of all vector registers.
                        "vzeroall",
                        "vmovd xmm12, eax",
                        "vpbroadcastd ymm12, xmm12",
                        "vmovdqa ymm13, ymm12",
                        "mov eax, 0x00010001",
                        "vmovd xmm14, eax",
                        "vpbroadcastd ymm14, xmm14",
                        "2:",
                        $($instruction,)*
                        "dec rcx",
                        "jnz 2b",
                        "vmovd eax, xmm11",
                        "vzeroupper",
                        inout("eax") $ones => sum,
                        inout("rcx") u64::from(REPEATS) => _,
                        clobber_abi("sysv64"),
                        options(nomem, nostack),
                    );
                }
                sum
            }
        };
    }

    /// Adds to every one of twelve sums, none of which waits for another: more than what is under
    /// way at the same time.
    macro_rules! to_twelve_sums {
        ($name:ident, $features:literal, $ones:literal, $instructions:ident) => {
            repeated!(
                $name,
                $features,
                $ones,
                $instructions!("0"),
                $instructions!("1"),
                $instructions!("2"),
                $instructions!("3"),
                $instructions!("4"),
                $instructions!("5"),
                $instructions!("6"),
                $instructions!("7"),
                $instructions!("8"),
                $instructions!("9"),
                $instructions!("10"),
                $instructions!("11")
            );
        };
    }
    const SUMS: u32 = 12;

    /// 16 products of 16-bit numbers.
    macro_rules! vpmaddwd {
        ($sum:literal) => {
            concat!(
                "vpmaddwd ymm15, ymm12, ymm13\n",
                "vpaddd ymm",
                $sum,
                ", ymm",
                $sum,
                ", ymm15"
            )
        };
    }
    to_twelve_sums!(maddwd, "avx2", 0x0001_0001, vpmaddwd);

    /// 32 products of u8 and i8.
    macro_rules! vpmaddubsw {
        ($sum:literal) => {
            concat!(
                "vpmaddubsw ymm15, ymm12, ymm13\n",
                "vpmaddwd ymm15, ymm15, ymm14\n",
                "vpaddd ymm",
                $sum,
                ", ymm",
                $sum,
                ", ymm15"
            )
        };
    }
    to_twelve_sums!(maddubsw, "avx2", 0x0101_0101, vpmaddubsw);

    /// 64 products of u8 and i8.
    macro_rules! vpdpbusd {
        ($sum:literal) => {
            concat!("vpdpbusd zmm", $sum, ", zmm12, zmm13")
        };
    }
    to_twelve_sums!(dpbusd, "avx512f,avx512vnni", 0x0101_0101, vpdpbusd);
}
