//! Tensors in the files that people keep them in: `.npy`, `.npz` and `.safetensors`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufReader, Cursor, Read, Seek, SeekFrom, Write},
    path::Path,
};

use crate::regular_file;
use anyhow::{Context, Result, bail, ensure};
use firstpass_probe::{Data, Dtype, Tensor, read_tensors};
use npyz::{DType, Endianness, NpyFile, Order, TypeChar};
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter, write::SimpleFileOptions};

/// The name of the one array of a `.npy` file.
pub const UNNAMED: &str = "";

/// Larger files are not read, nor larger arrays of an archive: a small file may unfold into a large one, and one of holes
/// takes no room on a disk.
pub const MOST_BYTES: u64 = 1 << 31;

/// Whether a file is one of tensors, by its name.
pub fn is_tensors(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str());
    matches!(extension, Some("npy" | "npz" | "safetensors"))
}

/// Every tensor of a file, by name; that of a `.npy` file is called [`UNNAMED`].
///
/// # Errors
/// Fails on a file that cannot be read, and on a type that no model takes.
pub fn read_named(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let read = || {
        regular_file::check(path)?;
        match path.extension().and_then(|e| e.to_str()) {
            Some("npy") => {
                let array = npy(&read_limited(File::open(path)?, MOST_BYTES)?)?;
                Ok(BTreeMap::from([(UNNAMED.to_owned(), array)]))
            }
            Some("npz") => npz(path),
            _ => {
                regular_file::check_size(path, MOST_BYTES)?;
                let (tensors, _) = read_tensors(path)?;
                Ok(tensors.into_iter().collect())
            }
        }
    };
    read().with_context(|| format!("cannot read the tensors in {}", path.display()))
}

/// Writes arrays by name as a `.npz` file. The same arrays give the same bytes.
///
/// # Errors
/// Fails where the file cannot be written.
pub fn write_npz(path: &Path, arrays: &BTreeMap<String, Tensor>) -> Result<()> {
    let write = || -> Result<()> {
        let mut archive = ZipWriter::new(File::create(path)?);
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .compression_level(Some(9))
            .last_modified_time(DateTime::default());
        for (name, array) in arrays {
            archive.start_file(format!("{name}.npy"), options)?;
            archive.write_all(&npy_header(array))?;
            archive.write_all(array.data().bytes())?;
        }
        archive.finish()?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// What precedes the values of an array, version 1.0 of the layout.
fn npy_header(array: &Tensor) -> Vec<u8> {
    let of = match array.data() {
        Data::F32(_) => "<f4",
        Data::F64(_) => "<f8",
        Data::F16(_) => "<f2",
        // numpy has no such type: this is what it writes for that of the package ml_dtypes.
        Data::BF16(_) => "<V2",
        Data::I64(_) => "<i8",
        Data::I32(_) => "<i4",
        Data::I16(_) => "<i2",
        Data::I8(_) => "|i1",
        Data::U64(_) => "<u8",
        Data::U32(_) => "<u4",
        Data::U16(_) => "<u2",
        Data::U8(_) => "|u1",
        Data::Bool(_) => "|b1",
    };
    let lengths: String = array.shape().iter().map(|n| format!("{n},")).collect();
    let text = format!("{{'descr': '{of}', 'fortran_order': False, 'shape': ({lengths}), }}");
    // Values begin at a multiple of 64 bytes; ten come before the text, and a line ends it.
    let padded = (text.len() + 11).next_multiple_of(64) - 10;
    let length = u16::try_from(padded).unwrap_or(u16::MAX);
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend(length.to_le_bytes());
    header.extend(format!("{text:<0$}\n", padded - 1).bytes());
    header
}

fn npz(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let mut archive = ZipArchive::new(File::open(path)?)?;
    // The archive gives one file of each name, whichever it has read last.
    let directory = archive.central_directory_start();
    let twice = named_twice(BufReader::new(File::open(path)?), directory)?;
    ensure!(
        twice.is_none(),
        "it holds two arrays of the name {:?}; keep one of them",
        twice.unwrap_or_default()
    );
    let unfolded = unfolded(&mut archive)?;
    ensure!(
        unfolded <= MOST_BYTES,
        "its arrays unfold to {unfolded} bytes, and more than {MOST_BYTES} are not read"
    );
    let mut tensors = BTreeMap::new();
    // The archive may lie about its sizes.
    let mut left = MOST_BYTES;
    for index in 0..archive.len() {
        let file = archive.by_index(index)?;
        let name = file.name()?.into_owned();
        let bytes = read_limited(file, left);
        let tensor = bytes.and_then(|bytes| {
            left -= bytes.len() as u64;
            npy(&bytes)
        });
        let tensor = tensor.with_context(|| name.clone())?;
        let array = name.strip_suffix(".npy").unwrap_or(&name).to_owned();
        ensure!(
            !tensors.contains_key(&array),
            "it holds two arrays of the name {array:?}; keep one of them"
        );
        tensors.insert(array, tensor);
    }
    Ok(tensors)
}

/// The first array that an archive lists a second time. `directory` is where its list begins: for each file a header of
/// 46 bytes, its name and two fields more, whose lengths stand in the header.
fn named_twice(mut file: impl Read + Seek, directory: u64) -> Result<Option<String>> {
    file.seek(SeekFrom::Start(directory))?;
    let mut names = BTreeSet::new();
    let mut header = [0; 46];
    // What comes after the list is another record.
    while file.read_exact(&mut header).is_ok() && header.starts_with(b"PK\x01\x02") {
        let length = |at: usize| usize::from(u16::from_le_bytes([header[at], header[at + 1]]));
        let mut rest = vec![0; length(28) + length(30) + length(32)];
        file.read_exact(&mut rest).context("its list is cut off")?;
        rest.truncate(length(28));
        let name =
            String::from_utf8_lossy(rest.strip_suffix(b".npy").unwrap_or(&rest)).into_owned();
        if !names.insert(rest) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Bytes of all files in an archive together, as it says itself.
///
/// # Errors
/// Fails on an archive that is damaged.
pub fn unfolded<R: Read + Seek>(archive: &mut ZipArchive<R>) -> Result<u64> {
    let mut bytes = 0_u64;
    for index in 0..archive.len() {
        bytes = bytes.saturating_add(archive.by_index_raw(index)?.size());
    }
    Ok(bytes)
}

fn read_limited(file: impl Read, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    ensure!(
        bytes.len() as u64 <= most,
        "all together they are larger than {MOST_BYTES} bytes"
    );
    Ok(bytes)
}

/// The longest header that numpy reads by default.
const LONGEST_HEADER: usize = 10_000;

/// The header of an array, where it is as long as it says and is not of records: its reader takes memory for
/// it beforehand, and time that doubles with each bracket. See numpy's `numpy.lib.format` for the layout.
fn header(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = match bytes {
        [_, _, _, _, _, _, 1, _, rest @ ..] => {
            let (length, rest) = rest.split_first_chunk()?;
            (u16::from_le_bytes(*length).into(), rest)
        }
        [_, _, _, _, _, _, _, _, rest @ ..] => {
            let (length, rest) = rest.split_first_chunk()?;
            (u32::from_le_bytes(*length) as usize, rest)
        }
        _ => return None,
    };
    let header = rest.get(..length).filter(|_| length <= LONGEST_HEADER)?;
    let brackets = header.iter().filter(|byte| b"([{".contains(byte));
    (brackets.count() <= 2).then_some(header)
}

fn npy(bytes: &[u8]) -> Result<Tensor> {
    let no_array = "it is no array as numpy.save writes it";
    ensure!(header(bytes).is_some(), "{no_array}, or one of records");
    let array = NpyFile::new(Cursor::new(bytes)).context(no_array)?;
    ensure!(
        array.order() == Order::C,
        "the array is in the order of Fortran; save numpy.ascontiguousarray(array)"
    );
    let shape = array
        .shape()
        .iter()
        .map(|&length| Ok(usize::try_from(length)?))
        .collect::<Result<Vec<_>>>()?;
    let mut lengths = shape.iter();
    let elements = lengths.try_fold(1_usize, |product, &length| product.checked_mul(length));
    ensure!(
        elements.is_some_and(|elements| elements <= bytes.len()),
        "the file is too short for an array of shape {shape:?}"
    );
    let DType::Plain(element) = array.dtype() else {
        bail!("the array is of records");
    };
    let data: Data = match (element.type_char(), element.size_field()) {
        (TypeChar::Float, 4) => array.into_vec::<f32>()?.into(),
        (TypeChar::Float, 8) => array.into_vec::<f64>()?.into(),
        (TypeChar::Int, 1) => array.into_vec::<i8>()?.into(),
        (TypeChar::Int, 2) => array.into_vec::<i16>()?.into(),
        (TypeChar::Int, 4) => array.into_vec::<i32>()?.into(),
        (TypeChar::Int, 8) => array.into_vec::<i64>()?.into(),
        (TypeChar::Uint, 1) => array.into_vec::<u8>()?.into(),
        (TypeChar::Uint, 2) => array.into_vec::<u16>()?.into(),
        (TypeChar::Uint, 4) => array.into_vec::<u32>()?.into(),
        (TypeChar::Uint, 8) => array.into_vec::<u64>()?.into(),
        (TypeChar::Bool, _) => array.into_vec::<bool>()?.into(),
        // numpy has no name for bf16: see `npy_header`.
        (of @ (TypeChar::Float | TypeChar::RawData), 2)
            if element.endianness() != Endianness::Big =>
        {
            let half = if of == TypeChar::Float {
                Dtype::F16
            } else {
                Dtype::BF16
            };
            let mut values = Vec::new();
            let length = 2 * elements.unwrap_or(0) as u64;
            array.into_inner().take(length).read_to_end(&mut values)?;
            Data::from_bytes(half, &values).context("its last value is cut off")?
        }
        (TypeChar::UnicodeStr | TypeChar::ByteStr | TypeChar::Object, _) => bail!(
            "the array is of strings or objects ({element}), which Firstpass cannot give to engines; \
             it gives {}",
            Dtype::keys()
        ),
        _ => bail!(
            "the array is of type {element}; convert it, for example with array.astype(\"float32\"), \
             to one of {}",
            Dtype::keys()
        ),
    };
    Ok(Tensor::new(&shape, data)?)
}

#[cfg(test)]
mod tests;
