package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"crayon/internal/device"
	"crayon/internal/fault"
	"crayon/internal/route"
	"crayon/internal/upstream"
)

// HTTPError is a failure as the client is told it. The cause is for the log
// alone.
type HTTPError struct {
	Status  int    // HTTP status
	Type    string // OpenAI's error type; "" for that of the status
	Code    string // a short name for programs; may be empty
	Param   string // the field at fault; may be empty
	Message string // what the client reads
	Err     error  // why; never sent
}

func (e *HTTPError) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

func (e *HTTPError) Unwrap() error { return e.Err }

// kind is OpenAI's error type.
func (e *HTTPError) kind() string {
	switch {
	case e.Type != "":
		return e.Type
	case e.Status == http.StatusUnauthorized:
		return "authentication_error"
	case e.Status == http.StatusForbidden:
		return "permission_error"
	case e.Status >= 500:
		return "server_error"
	}
	return "invalid_request_error"
}

// MarshalJSON is OpenAI's error object.
func (e *HTTPError) MarshalJSON() ([]byte, error) {
	type object struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    *string `json:"code"`
	}
	orNull := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	return json.Marshal(map[string]object{"error": {e.Message, e.kind(), orNull(e.Param), orNull(e.Code)}})
}

// statusGone is what the log says when the client went away (nginx's number).
const statusGone = 499

// asHTTP turns any error into what the client is told. What is not known to be
// fit for strangers becomes a plain 500.
func asHTTP(err error) *HTTPError {
	var h *HTTPError
	var failure *upstream.Failure
	var over *upstream.OverBudget
	var private *upstream.Private
	var unreachable *route.UnreachableError
	switch {
	case errors.As(err, &h):
		return h
	case errors.As(err, &over):
		return &HTTPError{Status: http.StatusTooManyRequests, Type: "insufficient_quota", Code: string(route.OverBudget), Message: over.Error(), Err: err}
	case errors.As(err, &private):
		return &HTTPError{Status: http.StatusForbidden, Code: string(route.Private), Message: private.Error(), Err: err}
	case errors.As(err, &failure):
		status := http.StatusBadGateway
		if failure.Kind == upstream.Slow {
			status = http.StatusGatewayTimeout
		}
		return &HTTPError{Status: status, Code: string(failure.Kind), Message: failure.Error(), Err: err}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &HTTPError{Status: statusGone, Message: "the request was cancelled", Err: err}
	case errors.As(err, &unreachable):
		status, kind := http.StatusBadRequest, ""
		switch unreachable.Reason {
		case route.LocalOnly, route.Private:
			status = http.StatusForbidden
		case route.OverBudget:
			status, kind = http.StatusTooManyRequests, "insufficient_quota"
		}
		if unreachable.Needs == nil {
			return &HTTPError{Status: status, Type: kind, Code: string(unreachable.Reason), Param: route.HeaderRoute, Message: unreachable.Error(), Err: err}
		}
		code := string(unreachable.Reason)
		if status == http.StatusBadRequest {
			code = string(route.BeyondDevice)
		}
		return &HTTPError{Status: status, Type: kind, Code: code, Param: unreachable.Needs[0], Message: unreachable.Error() + "; " + fault.Hint(err), Err: err}
	case errors.Is(err, device.ErrContext):
		return &HTTPError{Status: http.StatusBadRequest, Code: "context_length_exceeded", Message: public(err), Err: err}
	}
	switch fault.Code(err) {
	case fault.ExitUsage:
		return &HTTPError{Status: http.StatusBadRequest, Message: public(err), Err: err}
	case fault.ExitRefused:
		return &HTTPError{Status: http.StatusForbidden, Code: "refused", Message: public(err), Err: err}
	case fault.ExitVerify:
		return &HTTPError{Status: http.StatusUnprocessableEntity, Code: "unusable", Message: public(err), Err: err}
	}
	return &HTTPError{Status: http.StatusInternalServerError, Message: "something went wrong inside; the log has it under this request's id", Err: err}
}

// public is an error of the kinds that speak of the request, with its hint.
func public(err error) string {
	s := err.Error()
	if hint := fault.Hint(err); hint != "" {
		s += "; " + hint
	}
	return s
}

// badField is a 400 that names a field of the request.
func badField(param, format string, args ...any) *HTTPError {
	return &HTTPError{Status: http.StatusBadRequest, Param: param, Message: fmt.Sprintf(format, args...)}
}

// handler answers a request or says why not.
type handler func(http.ResponseWriter, *http.Request) error

// reply turns a handler's error into a response, if none was begun.
func (s *Server) reply(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			s.fail(w, r, err)
		}
	})
}

// fail writes err, unless the response has begun, and notes it for the log.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := asHTTP(err)
	note := noteOf(r.Context())
	note.err = err
	if note.status != 0 {
		return // begun: whoever began it has said what it could
	}
	if e.Status == statusGone {
		note.gone = true // nobody is there to read it
	}
	// An HTTPError holds only strings, which always encode.
	_ = writeJSON(w, e.Status, e)
}

// writeJSON answers with v. The error is of v; a client that left is not told
// apart from one that reads.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n'))
	return nil
}

// clip makes foreign text fit to be repeated in a message.
func clip(s string) string {
	const most = 80
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "..."
	}
	return s
}
