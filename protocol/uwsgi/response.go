package uwsgi

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"strconv"
)

// holdBack is how many bytes of a body wait for the handler's end, so that a short answer gets its Content-Length.
const holdBack = 4 << 10

// A response is the http.ResponseWriter of one connection. Nothing goes out before the header is complete and checked.
type response struct {
	out     *bufio.Writer
	isHead  bool // the request was HEAD
	report  func(error)
	header  http.Header // the handler's
	final   http.Header // what WriteHeader found, without what may not go out
	code    int         // 0 until WriteHeader
	sent    bool        // the header has gone out
	held    []byte      // body before the header has gone out
	length  int64       // declared Content-Length; -1
	written int64       // bytes of body that the handler has written
	err     error       // sticky: a bad header, or the peer has gone
}

func newResponse(out *bufio.Writer, isHead bool, report func(error)) *response {
	return &response{out: out, isHead: isHead, report: report, header: make(http.Header), length: -1}
}

func (w *response) Header() http.Header { return w.header }

// WriteHeader takes a copy of the header. Informational codes are dropped, because fronts do not expect them here. A
// header that could be taken for something else makes the answer a 500.
func (w *response) WriteHeader(code int) {
	if code < 100 || code > 999 {
		panic(fmt.Sprintf("invalid status code %d", code))
	}
	if w.code != 0 {
		w.report(fmt.Errorf("handler called WriteHeader(%d) after the header was decided; the first one counts", code))
		return
	}
	if code < 200 {
		return
	}
	w.code = code
	w.final = w.header.Clone()
	removeHopByHop(w.final)
	if !bodyAllowed(code) {
		w.final.Del("Content-Length")
	}
	if code == http.StatusNotModified {
		w.final.Del("Content-Type")
	}
	if err := checkHeader(w.final); err != nil {
		w.report(err)
		w.replace(http.StatusInternalServerError, "The application's answer had a header that cannot be sent.\n")
		w.err = err
		return
	}
	w.length = declaredLength(w.final)
}

// replace makes a plain answer of what has not gone out yet.
func (w *response) replace(code int, text string) {
	w.code = code
	w.final = http.Header{"Content-Type": {"text/plain; charset=utf-8"}}
	w.held = append(w.held[:0], text...)
	w.written = int64(len(text))
	w.length = -1
}

func bodyAllowed(code int) bool {
	return code >= 200 && code != http.StatusNoContent && code != http.StatusNotModified
}

func (w *response) Write(p []byte) (int, error) {
	if w.code == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.err != nil:
		return 0, w.err
	case len(p) == 0:
		return 0, nil
	case !bodyAllowed(w.code):
		return 0, http.ErrBodyNotAllowed
	case w.length >= 0 && w.written+int64(len(p)) > w.length:
		return 0, http.ErrContentLength
	}
	if !w.sent && len(w.held)+len(p) <= holdBack {
		w.written += int64(len(p))
		w.held = append(w.held, p...)
		return len(p), nil
	}
	w.sendHeader(false, p)
	w.written += int64(len(p))
	if !w.isHead && w.err == nil {
		_, w.err = w.out.Write(p)
	}
	if w.err != nil {
		return 0, w.err
	}
	return len(p), nil
}

// sendHeader sends the header and the held part of the body, once. complete says that the handler will write no more;
// next is what it is about to write.
func (w *response) sendHeader(complete bool, next []byte) {
	if w.sent {
		return
	}
	w.sent = true
	h := w.final
	sample := w.held
	if len(sample) == 0 {
		sample = next
	}
	if _, has := h["Content-Type"]; !has && len(sample) > 0 && h.Get("Content-Encoding") == "" {
		h.Set("Content-Type", http.DetectContentType(sample))
	}
	if complete && w.length < 0 && bodyAllowed(w.code) && (!w.isHead || len(w.held) > 0) {
		h.Set("Content-Length", strconv.Itoa(len(w.held)))
	}
	text := http.StatusText(w.code)
	if text == "" {
		text = "status code " + strconv.Itoa(w.code)
	}
	fmt.Fprintf(w.out, "HTTP/1.1 %03d %s\r\n", w.code, text)
	_ = h.Write(w.out) // the bufio.Writer keeps the error for the next call
	_, err := w.out.WriteString("\r\n")
	if !w.isHead && err == nil {
		_, err = w.out.Write(w.held)
	}
	w.held = nil
	if w.err == nil {
		w.err = err
	}
}

// Flush sends what has been written so far.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError is Flush for http.ResponseController.
func (w *response) FlushError() error {
	if w.code == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.sendHeader(false, nil)
	if w.err == nil {
		w.err = w.out.Flush()
	}
	return w.err
}

// finish sends what has not gone out when the handler has returned.
func (w *response) finish() {
	if w.code == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.sendHeader(true, nil)
	if err := w.out.Flush(); err != nil {
		return // the peer has gone, as it may
	}
	if w.err == nil && w.length >= 0 && w.written < w.length && !w.isHead {
		w.report(fmt.Errorf("handler declared Content-Length %d and wrote %d bytes", w.length, w.written))
	}
}

// fail answers with code and text if nothing has gone out yet, and tells whether it could.
func (w *response) fail(code int, text string) bool {
	if w.sent {
		_ = w.out.Flush()
		return false
	}
	w.replace(code, text)
	w.err = errors.New("the answer has been replaced by an error page")
	w.sendHeader(true, nil)
	_ = w.out.Flush()
	return true
}
