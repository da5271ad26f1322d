// Package imaging reads, writes, resizes and converts pictures the way the
// super-resolution literature does.
//
// Published figures depend on details: low-resolution inputs come from MATLAB's
// imresize (bicubic, a = -0.5, antialiased, 8-bit rounding after each
// dimension), and quality is measured on MATLAB's studio-swing BT.601 luma.
// Another resize or another luma moves results by tenths of a dB, so both are
// reproduced here exactly; the tests hold them against files made by others.
//
// A picture is planar CHW float32 in 0..1, because that is what networks take:
// Pix times the input range is the input tensor.
package imaging
