package sources

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// http is http://HOST[:PORT]/PATH: one HTTP/1.0 request, as uWSGI sends it. uWSGI looks at nothing in the answer but the first
// digit of the status, and takes every body for complete; here a cut or encoded body is an error.
func (o *Opener) http(url string) (io.ReadCloser, error) {
	host, path, ok := strings.Cut(url, "/")
	switch {
	case !ok || host == "":
		return nil, errors.New("is not a complete address; write http://host:port/path")
	case strings.IndexFunc(url, func(c rune) bool { return c <= ' ' || c == 0x7f }) >= 0:
		return nil, errors.New("holds a blank or a control character; write %%20 for a blank (in a file; %20 elsewhere)")
	case strings.IndexByte(host, '@') >= 0:
		return nil, errors.New("holds a user's name, which uWSGI does not send either; let exec://curl fetch it")
	}
	address := host
	if _, _, err := net.SplitHostPort(address); err != nil {
		address = net.JoinHostPort(strings.Trim(host, "[]"), "80")
	}
	ctx, stop := context.WithDeadline(o.Context, o.until)
	defer stop()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("does not answer: %w", err)
	}
	_ = conn.SetDeadline(o.until)
	context.AfterFunc(o.Context, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	if _, err := fmt.Fprintf(conn, "GET /%s HTTP/1.0\r\nHost: %s\r\nUser-Agent: emperord\r\n\r\n", path, host); err != nil {
		conn.Close()
		return nil, fmt.Errorf("does not take the request: %w", err)
	}
	body, err := answer(conn)
	if err != nil {
		conn.Close()
		if slow := net.Error(nil); errors.As(err, &slow) && slow.Timeout() {
			err = errSlow
		}
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{body, conn}, nil
}

// answer reads the header of an HTTP answer and returns its body.
func answer(from io.Reader) (io.Reader, error) {
	in := bufio.NewReaderSize(&io.LimitedReader{R: from, N: maxHeader + maxBody + 1}, 4096)
	var size, length = 0, int64(-1)
	line := func() (string, error) {
		var text []byte
		for {
			part, err := in.ReadSlice('\n')
			if size += len(part); size > maxHeader {
				return "", fmt.Errorf("answers with a header of more than %d bytes", maxHeader)
			}
			text = append(text, part...)
			switch {
			case errors.Is(err, bufio.ErrBufferFull):
				continue
			case err == io.EOF:
				return "", errors.New("answers with a header that has no end")
			}
			return strings.TrimRight(string(text), "\r\n"), err
		}
	}
	status, err := line()
	if err != nil {
		return nil, err
	}
	version, rest, _ := strings.Cut(status, " ")
	if !strings.HasPrefix(version, "HTTP/1.") || len(rest) < 3 {
		return nil, fmt.Errorf("does not answer in HTTP: %.60q", status)
	}
	where := ""
	for {
		text, err := line()
		if err != nil {
			return nil, err
		}
		if text == "" {
			break
		}
		name, value, _ := strings.Cut(text, ":")
		value = strings.TrimSpace(value)
		switch strings.ToLower(name) {
		case "location":
			where = value
		case "transfer-encoding":
			if !strings.EqualFold(value, "identity") {
				return nil, fmt.Errorf("answers with Transfer-Encoding %.40q, which an HTTP/1.0 request does not allow; have the server send the plain file", value)
			}
		case "content-encoding":
			if !strings.EqualFold(value, "identity") {
				return nil, fmt.Errorf("answers with Content-Encoding %.40q; have the server send the plain file", value)
			}
		case "content-length":
			if length, err = strconv.ParseInt(value, 10, 63); err != nil || length < 0 {
				return nil, fmt.Errorf("answers with Content-Length %.40q, which is no number", value)
			}
		}
	}
	switch {
	case rest[0] == '3' && where != "":
		return nil, fmt.Errorf("answers %.60q and points to %.200q; redirects are not followed, name that address", rest, where)
	case rest[0] != '2':
		return nil, fmt.Errorf("answers %.60q; only 2xx is taken", rest)
	case length > maxBody:
		return nil, errTooMuch
	}
	return &bounded{&whole{in, length}, maxBody}, nil
}

// whole fails where a body ends before its announced length. One that is longer counts as it is, as in uWSGI.
type whole struct {
	io.Reader
	left int64 // -1: not announced
}

func (w *whole) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if w.left >= 0 {
		w.left = max(0, w.left-int64(n))
	}
	if slow := net.Error(nil); errors.As(err, &slow) && slow.Timeout() {
		err = errSlow
	}
	if err == io.EOF && w.left > 0 {
		err = fmt.Errorf("breaks off %d bytes before the end of its answer", w.left)
	}
	return n, err
}

// sooner is the earlier of two moments.
func sooner(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
