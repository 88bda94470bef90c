package vassal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/protocol/pipe"
)

// resolveMany answers questions about vassal files of one owner, one after the other, until there are no more: what a
// resolver costs is to start it, and an emperor with thousands of vassals on demand has to know the sockets of all.
func resolveMany(ctx context.Context, o Options) error {
	syscall.CloseOnExec(pipe.QuestionsFD) // neither is for programs that a configuration runs, nor for fd://
	syscall.CloseOnExec(pipe.AnswersFD)
	if err := o.open(); err != nil {
		return err
	}
	answers := os.NewFile(pipe.AnswersFD, "answers")
	defer answers.Close()
	packet, control := make([]byte, pipe.MaxQuestion), make([]byte, unix.CmsgSpace(4*16))
	for {
		n, oobn, _, _, err := unix.Recvmsg(pipe.QuestionsFD, packet, control, unix.MSG_CMSG_CLOEXEC)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("cannot hear the next question: %w", err)
		case n == 0:
			return nil
		}
		file, err := handed(control[:oobn])
		if err != nil {
			return err
		}
		q, err := pipe.DecodeQuestion(packet[:n])
		if err == nil {
			err = os.Chdir(q.Dir)
		}
		if err != nil {
			file.Close()
			return err
		}
		one := o
		one.Args, one.Dir = q.Args, q.Dir
		one.Env = append(without(o.Env, pipe.VassalVariable), pipe.VassalVariable+"="+q.Name)
		var document bytes.Buffer
		err = resolveFile(ctx, one, true, file, nil, nil).Encode(&document)
		file.Close()
		if err == nil {
			err = pipe.WriteAnswer(answers, document.Bytes())
		}
		if err != nil {
			return err
		}
	}
}

// handed returns the one descriptor that came with a packet.
func handed(control []byte) (*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("a question has come without a file: %w", errors.Join(err, errors.New("there is no descriptor")))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("a question has come with %d files: %w", len(fds), errors.Join(err, errors.New("one is wanted")))
	}
	return os.NewFile(uintptr(fds[0]), "vassal file"), nil
}
