package pipe

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// A Question asks `vassald --resolve-many` what one vassal file means. It travels as one packet together with the
// descriptor of the file; the answer is a document as `vassald --resolve` prints it, framed by WriteAnswer.
type Question struct {
	Args []string `json:"args"` // the command line behind --resolve
	Dir  string   `json:"dir"`  // the vassal's working folder
	Name string   `json:"name"` // the vassal's, for VassalVariable
}

// The descriptors of `vassald --resolve-many`: a socket of packets with questions, and a pipe for the answers.
const (
	QuestionsFD = 3
	AnswersFD   = 4
)

// MaxQuestion bounds the packet of a question, in bytes.
const MaxQuestion = 64 << 10

// Encode returns the packet of a question.
func (q Question) Encode() ([]byte, error) {
	text, err := json.Marshal(q)
	if err == nil && len(text) > MaxQuestion {
		err = fmt.Errorf("a question of %d bytes does not fit into a packet of %d", len(text), MaxQuestion)
	}
	return text, err
}

// DecodeQuestion reads the packet of a question.
func DecodeQuestion(packet []byte) (Question, error) {
	var q Question
	if len(packet) > MaxQuestion {
		return q, errors.New("the question is too long")
	}
	if err := json.Unmarshal(packet, &q); err != nil {
		return q, fmt.Errorf("the question is not understood: %w", err)
	}
	return q, nil
}

// WriteAnswer writes one document behind its length.
func WriteAnswer(w io.Writer, document []byte) error {
	_, err := w.Write(append(binary.LittleEndian.AppendUint32(nil, uint32(len(document))), document...))
	return err
}

// ReadAnswer reads one document. It refuses one of more than limit bytes before it makes room for it.
func ReadAnswer(r io.Reader, limit int) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("cannot read an answer: %w", err)
	}
	size := binary.LittleEndian.Uint32(head[:])
	if int64(size) > int64(limit) {
		return nil, fmt.Errorf("an answer of %d bytes is longer than %d", size, limit)
	}
	document := make([]byte, size)
	if _, err := io.ReadFull(r, document); err != nil {
		return nil, fmt.Errorf("cannot read an answer: %w", err)
	}
	return document, nil
}
