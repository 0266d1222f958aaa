package server

import (
	"errors"
	"net/http"
	"testing"
	"unicode/utf8"
)

// FuzzRequest: whatever comes is either a request within its bounds or a 4xx
// that says why.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		`{"model":"m","messages":[{"role":"user","content":"hi"}],"stop":["a"],"temperature":1,"stream_options":{"include_usage":true}}`,
		`{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],"logprobs":true,"top_logprobs":3}`,
		`{"model":"m","prompt":["a","b"],"echo":true,"logprobs":1,"max_tokens":0}`, `{"model":"m","prompt":[1,2,3]}`, `{"model":"m","prompt":[[1],[2]]}`,
		`{"model":"m","prompt":null,"stop":null,"n":1}`, `{"tools":[{}],"model":"m"}`,
		`{"model":"m","n":2,"tools":[{}],"messages":[{"role":"assistant","tool_calls":[{"id":"c"}]},{"role":"tool","tool_call_id":"c","content":"x"}]}`, `{"model":"m","messages":[{"role":"assistant","content":null,"function_call":{},"refusal":"no"},{"role":"function","content":null}]}`, `null`, `[]`, `{"prompt":[[]]}`, `{"model":"\ud800","prompt":"\ud800"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		fault := func(err error) {
			var h *HTTPError
			if !errors.As(asHTTP(err), &h) || h.Status < 400 || h.Status > 499 || h.Message == "" {
				t.Fatalf("error %v", err)
			}
			if body, err := h.MarshalJSON(); err != nil || !utf8.Valid(body) {
				t.Fatalf("error object %q: %v", body, err)
			}
		}
		if r, msgs, err := parseChat(data); err != nil {
			fault(err)
		} else {
			if r.needs == nil && (len(msgs) == 0 || msgs[len(msgs)-1].Role != "user") || r.needs != nil && (msgs != nil || len(r.Messages) == 0 || r.needs[0] == "") || r.Model == "" || len(r.Stop) > chatStops || r.top() < 0 || r.top() > maxTop || r.MaxTokens != nil && *r.MaxTokens < 1 {
				t.Fatalf("accepted %+v", r)
			}
			if _, err := r.sampling(); err != nil && asHTTP(err).Status != http.StatusBadRequest {
				t.Fatal(err)
			}
		}
		if r, err := parseCompletion(data); err != nil {
			fault(err)
		} else if n := r.Prompt.len(); n < 1 || n > maxPrompts || r.top() < 0 || r.top() > maxTop || *r.MaxTokens < 0 || (r.Prompt.texts != nil) == (r.Prompt.ids != nil) {
			t.Fatalf("accepted %+v", r)
		}
	})
}
