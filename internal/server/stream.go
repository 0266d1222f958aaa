package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// events writes server-sent events (WHATWG HTML, 9.2), each at once.
type events struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	begun bool
}

func newEvents(w http.ResponseWriter) *events {
	return &events{w: w, rc: http.NewResponseController(w)}
}

// send writes v as one event. The first one sends the headers.
func (e *events) send(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return e.write(data)
}

func (e *events) write(data []byte) error {
	if !e.begun {
		e.begun = true
		h := e.w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("Cache-Control", "no-cache")
		h.Set("X-Accel-Buffering", "no") // nginx would hold the pieces back
		e.w.WriteHeader(http.StatusOK)
	}
	// A client that takes nothing must not hold the model for ever. Writers
	// without deadlines are those of tests.
	_ = e.rc.SetWriteDeadline(time.Now().Add(writeTime))
	if _, err := e.w.Write(append(append([]byte("data: "), data...), "\n\n"...)); err != nil {
		return left(err)
	}
	return left(e.rc.Flush())
}

// left marks a failed write: the client has left, which may show here before
// its request is cancelled.
func left(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", context.Canceled, err)
}

// done ends a whole answer.
func (e *events) done() error { return e.write([]byte("[DONE]")) }

// fail ends an answer that is not whole: an error event, and no [DONE]. Before
// the first event it leaves the error to be a response of its own.
func (e *events) fail(err error) error {
	if e.begun {
		// When the client is gone there is nobody to tell.
		_ = e.send(asHTTP(err))
	}
	return err
}
