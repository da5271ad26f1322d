package onnx

import (
	"encoding/binary"
	"fmt"
)

// What a file may hold before it is taken for an attack: a graph inside a graph
// is three messages, a type inside a type two, and memory goes by the number of
// fields. A network of 100,000 nodes has about a million.
const (
	maxMessages = 3 * maxDepth
	maxFields   = 4 << 20
)

// message is a protobuf message of the format, by those of its fields that
// hold messages which can be nested or many.
type message map[uint64]*message

var (
	modelMessage     = message{7: &graphMessage, 14: &leafMessage, 20: &trainingMessage, 25: &functionMessage}
	trainingMessage  = message{1: &graphMessage, 2: &graphMessage, 3: &leafMessage, 4: &leafMessage}
	functionMessage  = message{7: &nodeMessage, 11: &attributeMessage, 12: &valueInfoMessage}
	graphMessage     = message{1: &nodeMessage, 5: &leafMessage, 11: &valueInfoMessage, 12: &valueInfoMessage, 13: &valueInfoMessage, 14: &leafMessage}
	nodeMessage      message
	attributeMessage message
	valueInfoMessage = message{2: &typeMessage}
	typeMessage      message
	leafMessage      = message{}
)

func init() { // the definitions go in a circle
	nodeMessage = message{5: &attributeMessage}
	attributeMessage = message{5: &leafMessage, 6: &graphMessage, 10: &leafMessage, 11: &graphMessage, 14: &typeMessage, 15: &typeMessage}
	container := message{1: &typeMessage, 2: &typeMessage}
	tensor := message{2: &message{1: &leafMessage}}
	typeMessage = message{1: &tensor, 4: &container, 5: &container, 8: &tensor, 9: &container}
}

// scan walks the messages of a file without decoding them. It guards the
// decoder, which recurses: too deep a file would overflow the stack, which
// nothing can recover from.
func scan(data []byte) error {
	fields := 0
	return scanMessage(data, &modelMessage, 0, &fields)
}

func scanMessage(data []byte, m *message, depth int, fields *int) error {
	if depth > maxMessages {
		return fmt.Errorf("subgraphs or types are nested more than %d deep", maxDepth)
	}
	for len(data) > 0 {
		tag, n := binary.Uvarint(data)
		if n <= 0 {
			return errCutOff
		}
		if *fields++; *fields > maxFields {
			return fmt.Errorf("more than %d fields: no network has as many", maxFields)
		}
		data = data[n:]
		size := uint64(0)
		switch tag & 7 {
		case 0:
			if _, n = binary.Uvarint(data); n <= 0 {
				return errCutOff
			}
			size = uint64(n)
		case 1:
			size = 8
		case 2:
			if size, n = binary.Uvarint(data); n <= 0 {
				return errCutOff
			}
			data = data[n:]
		case 3, 4: // groups, which the format does not use: the decoder skips them without recursion
		case 5:
			size = 4
		default:
			return fmt.Errorf("wire type %d does not exist", tag&7)
		}
		if size > uint64(len(data)) {
			return errCutOff
		}
		if inner := (*m)[tag>>3]; inner != nil && tag&7 == 2 {
			if err := scanMessage(data[:size], inner, depth+1, fields); err != nil {
				return err
			}
		}
		data = data[size:]
	}
	return nil
}

var errCutOff = fmt.Errorf("a field ends behind the end")
