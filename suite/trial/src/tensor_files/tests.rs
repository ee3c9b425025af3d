use firstpass_probe::{bf16, f16};

use super::*;

/// As `numpy.save` writes it, version 1.0.
fn array(descr: &str, order: bool, shape: &str, values: &[u8]) -> Vec<u8> {
    let order = if order { "True" } else { "False" };
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
    while (header.len() + 11) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values);
    bytes
}

#[test]
fn arrays_keep_type_shape_and_values() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("x.npy");
    let values: Vec<u8> = [1_i64, -2].iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(&path, array("<i8", false, "(1, 2)", &values))?;
    let arrays = read_named(&path)?;
    let expected = Tensor::new(&[1, 2], vec![1_i64, -2])?;
    assert_eq!(arrays, BTreeMap::from([(UNNAMED.to_owned(), expected)]));
    Ok(())
}

#[test]
fn archives_have_names() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("x.npz");
    let mut archive = ZipWriter::new(File::create(&path)?);
    for (name, descr, values) in [("a.npy", "|u1", &[7_u8][..]), ("b.npy", "|b1", &[1])] {
        archive.start_file(name, SimpleFileOptions::default())?;
        archive.write_all(&array(descr, false, "(1,)", values))?;
    }
    archive.finish()?;
    let arrays = read_named(&path)?;
    assert_eq!(arrays["a"].data(), &vec![7_u8].into());
    assert_eq!(arrays["b"].data(), &vec![true].into());
    Ok(())
}

#[test]
fn what_is_written_is_read_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("x.npz");
    let all: [Data; Dtype::ALL.len()] = [
        vec![1.5_f32, -0.0].into(),
        vec![f64::MIN_POSITIVE, 2.0].into(),
        vec![f16::MAX, f16::NEG_ZERO].into(),
        vec![bf16::MAX, bf16::NEG_ZERO].into(),
        vec![i64::MIN, 7].into(),
        vec![i32::MIN, 7].into(),
        vec![i16::MIN, 7].into(),
        vec![-128_i8, 127].into(),
        vec![0, u64::MAX].into(),
        vec![0, u32::MAX].into(),
        vec![0, u16::MAX].into(),
        vec![0_u8, 255].into(),
        vec![true, false].into(),
    ];
    let mut arrays = BTreeMap::new();
    for (number, data) in all.into_iter().enumerate() {
        // Headers of several lengths.
        let shape = [vec![1; number * 3], vec![2]].concat();
        arrays.insert(number.to_string(), Tensor::new(&shape, data)?);
    }
    write_npz(&path, &arrays)?;
    assert_eq!(read_named(&path)?, arrays);
    Ok(())
}

/// 8 MiB of zeros a file, as small as zeros are in an archive.
#[test]
fn a_small_archive_that_unfolds_to_a_large_one_is_refused_before_memory_is_taken() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("x.npz");
    let mut archive = ZipWriter::new(File::create(&path)?);
    let zeros = vec![0_u8; 8 << 20];
    for number in 0..300 {
        archive.start_file(format!("{number}.npy"), SimpleFileOptions::default())?;
        archive.write_all(&zeros)?;
    }
    archive.finish()?;
    assert!(std::fs::metadata(&path)?.len() < 8 << 20);
    let error = format!("{:#}", read_named(&path).expect_err("must fail"));
    assert!(error.contains("unfold to 2516582400 bytes"), "{error}");
    Ok(())
}

#[test]
fn two_arrays_of_one_name_are_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("x.npz");
    let mut archive = ZipWriter::new(File::create(&path)?);
    for name in ["x", "x.npy"] {
        archive.start_file(name, SimpleFileOptions::default())?;
        archive.write_all(&array("<f4", false, "(1,)", &[0; 4]))?;
    }
    archive.finish()?;
    let error = format!("{:#}", read_named(&path).expect_err("must fail"));
    assert!(error.contains("two arrays of the name \"x\""), "{error}");
    Ok(())
}

/// No writer of archives gives two files one name: here the second name is changed afterwards.
#[test]
fn two_arrays_of_the_very_same_name_are_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("x.npz");
    let tensor = Tensor::new(&[1], vec![1.0_f32])?;
    let names = ["first", "other"].map(str::to_owned);
    let arrays = BTreeMap::from(names.map(|name| (name, tensor.clone())));
    write_npz(&path, &arrays)?;
    assert_eq!(read_named(&path)?.len(), 2);
    let mut bytes = std::fs::read(&path)?;
    while let Some(at) = bytes.windows(5).position(|name| name == b"other") {
        bytes[at..at + 5].copy_from_slice(b"first");
    }
    std::fs::write(&path, &bytes)?;
    let error = format!("{:#}", read_named(&path).expect_err("must fail"));
    assert!(
        error.contains("two arrays of the name \"first\""),
        "{error}"
    );
    // Also where something stands before the archive.
    bytes.splice(0..0, *b"#!/bin/sh");
    std::fs::write(&path, &bytes)?;
    let error = format!("{:#}", read_named(&path).expect_err("must fail"));
    assert!(
        error.contains("two arrays of the name \"first\""),
        "{error}"
    );
    Ok(())
}

#[test]
fn what_no_model_takes_is_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("x.npy");
    for (bytes, words) in [
        (array("<c8", false, "(1,)", &[0; 8]), "type"),
        (array("<U1", false, "(1,)", &[0; 4]), "strings"),
        (array("<V2", false, "(2,)", &[0; 3]), "cut off"),
        (array("<f4", true, "(1,)", &[0; 4]), "Fortran"),
        (array("<f4", false, "(2,)", &[0; 4]), "x.npy"),
        (b"\x93NUMPY nonsense".to_vec(), "numpy.save"),
        // What fuzzing found: memory was taken for a header or an array that is not there.
        (
            b"\x93NUMPY\x02\x00\x00\x00\x00\x54{}".to_vec(),
            "numpy.save",
        ),
        (array("<f4", false, "(99999, 99999)", &[0; 4]), "short"),
        (array("<f4", false, &"[".repeat(60), &[0; 4]), "numpy.save"),
    ] {
        std::fs::write(&path, bytes)?;
        let error = format!("{:#}", read_named(&path).expect_err("must fail"));
        assert!(error.contains(words), "{error}");
    }
    Ok(())
}
