//! What one core multiplies and adds at most: the roof over the speed of integer convolutions
//! (Williams, Waterman and Patterson, "Roofline", 2009).

use serde::{Deserialize, Serialize};

/// Multiply-adds of u8 activations and i8 weights in registers, by the instructions that an instruction
/// set has for them. Loads, stores and requantization would come on top.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peak {
    /// The instruction set and the instruction.
    pub instructions: String,
    /// What each round multiplies and adds.
    pub multiply_adds: u64,
    /// Rounds of about a millisecond on the calling thread, in ns. They differ as the clock of the core
    /// does, and as the machine is shared.
    pub rounds_ns: Vec<u64>,
}

/// One for each way that this processor has, the slowest first; none on other architectures than x86-64.
pub fn peaks() -> Vec<Peak> {
    #[cfg(target_arch = "x86_64")]
    return x86::peaks();
    #[cfg(not(target_arch = "x86_64"))]
    Vec::new()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::{arch::asm, time::Instant};

    use super::Peak;

    /// Times that the instructions of a function below are repeated in a round.
    const REPEATS: u32 = 500_000;

    /// As many as see the clock of the core move.
    const ROUNDS: usize = 100;

    /// A way to multiply and add.
    pub struct Way {
        pub name: &'static str,
        /// Returns one of its sums of products.
        pub run: fn() -> u32,
        /// Sums that a vector holds.
        pub lanes: u32,
        /// Products that an instruction adds to each.
        pub products: u32,
    }

    pub fn ways() -> Vec<Way> {
        let mut ways = Vec::new();
        if is_x86_feature_detected!("avx2") {
            ways.push(Way {
                name: "avx2 vpmaddwd",
                // SAFETY: the machine has AVX2.
                run: || unsafe { maddwd() },
                lanes: 8,
                products: 2,
            });
            ways.push(Way {
                name: "avx2 vpmaddubsw",
                // SAFETY: the machine has AVX2.
                run: || unsafe { maddubsw() },
                lanes: 8,
                products: 4,
            });
        }
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
            ways.push(Way {
                name: "avx512-vnni vpdpbusd",
                // SAFETY: the machine has AVX-512 VNNI.
                run: || unsafe { dpbusd() },
                lanes: 16,
                products: 4,
            });
        }
        ways
    }

    pub fn peaks() -> Vec<Peak> {
        let peaks = ways().into_iter().map(|way| {
            let rounds = (0..ROUNDS).map(|_| {
                let began = Instant::now();
                std::hint::black_box((way.run)());
                u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
            });
            Peak {
                instructions: way.name.into(),
                multiply_adds: u64::from(REPEATS * SUMS) * u64::from(way.lanes * way.products),
                rounds_ns: rounds.collect(),
            }
        });
        peaks.collect()
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

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn every_product_is_added() {
            for way in ways() {
                let products = vec![1_u8; (REPEATS * way.products) as usize];
                let reference: u32 = products.into_iter().map(u32::from).sum();
                assert_eq!((way.run)(), reference, "{}", way.name);
            }
        }
    }
}
