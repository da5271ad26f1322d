// Package converter is the whole pipeline as a library: a float network and
// pictures go in, a quantized network and a report come out.
//
//	model, err := onnx.Load("edsr.onnx")
//	images, err := calib.OpenDataset("photos", ...)
//	result, err := converter.Quantize(ctx, model, images, converter.QuantizeOptions{...})
//	err = result.Model.Save("edsr_4bit.onnx")
//	report, err := converter.Validate(ctx, model, result.Model, pairs, converter.ValidateOptions{})
//
// Each step is a value of its own (passes.Plan, calib.Profile, Report), so that a
// caller can stop between any two.
package converter

// Progress is told how far a stage is, from one goroutine. It may be nil.
type Progress func(stage string, done, total int)

func (p Progress) report(stage string, done, total int) {
	if p != nil {
		p(stage, done, total)
	}
}
