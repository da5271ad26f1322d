package models

import (
	"embed"
	"io/fs"

	"github.com/daq-sr/daq/onnx"
)

//go:embed builtin
var builtin embed.FS

// Builtin returns the small trained network that the program ships with: EDSR,
// scale 2, 8 blocks of 32 channels, RGB 0..1. It is
// EDSR{Scale: 2, Blocks: 8, Channels: 32} with weights.
func Builtin() (*onnx.Model, error) {
	data, err := builtin.ReadFile("builtin/edsr_tiny_x2.onnx")
	if err != nil {
		return nil, err
	}
	return onnx.Decode(data)
}

// BuiltinFiles returns the files that the program ships with:
//
//	README.md                  licences and authors; goes with every copy
//	edsr_tiny_x2.onnx          the file that Builtin decodes
//	images/calibration/LRx2    5 photographs, 256x256 crops downscaled by 2
//	images/validation/HR       5 other crops
//	images/validation/LRx2     the same downscaled by 2
func BuiltinFiles() fs.FS {
	sub, err := fs.Sub(builtin, "builtin")
	if err != nil {
		panic(err) // the path is a valid one
	}
	return sub
}

// BuiltinImages returns the folder images of BuiltinFiles.
func BuiltinImages() fs.FS {
	sub, err := fs.Sub(builtin, "builtin/images")
	if err != nil {
		panic(err)
	}
	return sub
}
