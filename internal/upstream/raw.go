package upstream

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

// raws are the chunks of an answer to a client's own request.
type raws struct {
	usage   bool // the client asked for the usage at the end
	choices int  // how many answers it asked for

	begun    bool // something was said
	queue    []chunk
	open     map[int64]bool // answers that began and have not ended
	finished map[int64]bool
	done     bool // the server said that nothing more comes
}

// chunk is one that the client is to be told.
type chunk struct {
	raw   json.RawMessage
	delta string
}

func newRaws(body []byte) *raws {
	o, _ := outlineOf(body)
	return &raws{usage: o.usage, choices: int(o.choices), open: map[int64]bool{}, finished: map[int64]bool{}}
}

// watch adds what hears the line that ends a stream, which the client library
// does not tell apart from a connection that ended.
func (r *raws) watch(opts []option.RequestOption) []option.RequestOption {
	if r == nil {
		return opts
	}
	return append(opts[:len(opts):len(opts)], option.WithMiddleware(func(req *http.Request, next option.MiddlewareNext) (*http.Response, error) {
		resp, err := next(req)
		if err == nil {
			resp.Body = &doneBody{ReadCloser: resp.Body, done: &r.done}
		}
		return resp, err
	}))
}

// whole says whether every answer came to its end.
func (r *raws) whole() bool {
	return r.begun && (r.done || len(r.open) == 0 && len(r.finished) >= r.choices)
}

// note follows the answers, and says whether a chunk says anything: a role alone
// does not.
func (r *raws) note(c openai.ChatCompletionChunk) (says bool) {
	for _, x := range c.Choices {
		if x.FinishReason != "" {
			delete(r.open, x.Index)
			r.finished[x.Index] = true
			says = true
			continue
		}
		if !r.finished[x.Index] {
			r.open[x.Index] = true
		}
		var delta map[string]json.RawMessage
		if json.Unmarshal([]byte(x.Delta.RawJSON()), &delta) != nil {
			continue
		}
		for name, v := range delta {
			switch string(v) {
			case "null", `""`, "[]", "{}":
			default:
				says = says || name != "role"
			}
		}
	}
	return says
}

// held says whether a chunk is the usage that the gate asked for, and the client
// did not.
func (r *raws) held(c openai.ChatCompletionChunk) bool {
	return !r.usage && len(c.Choices) == 0 && c.JSON.Usage.Valid()
}

// advanceRaw reads to the next chunk that the client is to be told, or to the
// end. Those before the first that says something wait for it.
func (st *Stream) advanceRaw() {
	r := st.raws
	begun := r.begun
	for len(r.queue) == 0 || !r.begun {
		if !st.sse.Next() {
			st.end(r.whole(), begun)
			return
		}
		if begun {
			st.timer.Reset(st.server.opt.Idle)
		}
		c := st.sse.Current()
		delta := st.take(c)
		r.begun = r.note(c) || r.begun
		if !r.held(c) {
			r.queue = append(r.queue, chunk{json.RawMessage(c.RawJSON()), delta})
		}
	}
	st.raw, st.delta = r.queue[0].raw, r.queue[0].delta
	st.text.WriteString(st.delta)
	r.queue = r.queue[1:]
}

// doneBody notes the event that ends a stream.
type doneBody struct {
	io.ReadCloser
	done *bool
	line []byte // its beginning
}

var doneEvent = []byte("data:[DONE]")

func (b *doneBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	for _, c := range p[:n] {
		switch {
		case c == '\n':
			*b.done = *b.done || bytes.HasPrefix(b.line, doneEvent)
			b.line = b.line[:0]
		case c != ' ' && c != '\r' && len(b.line) < len(doneEvent):
			b.line = append(b.line, c)
		}
	}
	if err != nil {
		*b.done = *b.done || bytes.HasPrefix(b.line, doneEvent)
	}
	return n, err
}
