package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"crayon/internal/fault"
	"crayon/internal/route"
)

func TestModels(t *testing.T) {
	w := newWorld(t, nil)
	ids := func() (out []string) {
		page, err := w.client.Models.List(t.Context())
		require.NoError(t, err)
		for _, m := range page.Data {
			out = append(out, m.ID)
		}
		return out
	}
	require.Equal(t, []string{"tiny", "tiny+desk", "tiny+mine"}, ids())
	m, err := w.client.Models.Get(t.Context(), "tiny+desk")
	require.NoError(t, err)
	require.Equal(t, "tiny+desk", m.ID)
	require.Equal(t, http.StatusOK, w.send("GET", "/v1/models/tiny%2Bdesk", "").status)
	require.Equal(t, http.StatusNotFound, w.send("GET", "/v1/models/tiny+disk", "").status)

	// A new customisation is there at once, a replaced one too, a removed one
	// is not.
	w.put("late")
	require.Equal(t, []string{"tiny", "tiny+desk", "tiny+late", "tiny+mine"}, ids())
	answer := func() response { return w.post(chatPath, ask("tiny+late", "why", "")) }
	require.Equal(t, http.StatusOK, answer().status)
	w.putOf("late", 5, "yes", "no")
	require.Contains(t, []string{"yes", "no"}, content0(t, answer()))
	require.NoError(t, w.shelf.Remove("late"))
	require.Equal(t, http.StatusNotFound, answer().status)
	require.Equal(t, []string{"tiny", "tiny+desk", "tiny+mine"}, ids())
}

func content0(t *testing.T, r response) string {
	t.Helper()
	require.Equal(t, http.StatusOK, r.status, r.body)
	var c chatObject
	require.NoError(t, json.Unmarshal([]byte(r.body), &c))
	return *c.Choices[0].Message.Content
}

// TestUnknownModel: never the base model's answer in its place.
func TestUnknownModel(t *testing.T) {
	w := newWorld(t, nil)
	for model, near := range map[string]string{
		"tiny+mina": "tiny+mine", "tiny+Mine": "tiny+mine", "mine": "tiny+mine", "tinny": "tiny", "tiny+": "tiny", "tiny+../mine": "",
		"gpt-4o-mini-2024-07-18": "", "tiny+base": "", "TINY": "tiny", "tiny+mine+desk": "", "tiny mine": "tiny+mine",
	} {
		r := w.post(chatPath, ask(model, "why", ""))
		require.Equal(t, http.StatusNotFound, r.status, model)
		message, _, param, code := r.error(t)
		require.Equal(t, []string{"model", "model_not_found"}, []string{param, code})
		if near != "" {
			require.Contains(t, message, fmt.Sprintf("did you mean %q?", near), model)
		}
	}
	require.Zero(t, len(w.fake.Calls()))
}

// TestDamagedCustomisation: what does not fit the pool is refused, and does
// not hide the rest.
func TestDamagedCustomisation(t *testing.T) {
	w := newWorld(t, nil)
	c := w.put("foreign")
	c.Pool = strings.Repeat("0", 64)
	data, err := c.Marshal()
	require.NoError(t, err)
	require.NoError(t, w.shelf.Put("foreign", data))
	require.NoError(t, w.shelf.Put("broken", []byte("{")))
	for _, name := range []string{"foreign", "broken"} {
		r := w.post(chatPath, ask("tiny+"+name, "why", ""))
		require.Equal(t, http.StatusUnprocessableEntity, r.status, r.body)
	}
	require.Equal(t, http.StatusOK, w.post(chatPath, ask("tiny+mine", "why", "")).status)
}

func TestHealth(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Key = "sesame" })
	r := w.send("GET", "/healthz", "")
	require.JSONEq(t, `{"status":"ok","local_only":false}`, r.body)
	w.hybrid.LocalOnly = true
	r = w.send("GET", "/healthz", "", "Authorization", "Bearer sesame")
	require.JSONEq(t, fmt.Sprintf(`{"status":"ok","local_only":true,"server":false,"model":"tiny","pool":%q}`, w.hybrid.Device.Pool.Digest()), r.body)
}

func TestKey(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Key = "sesame" })
	for header, status := range map[string]int{
		"": 401, "Bearer": 401, "Bearer ": 401, "Bearer sesam": 401, "Bearer sesame2": 401, "Basic sesame": 401, "sesame": 401,
		"Bearer sesame": 200, "bearer sesame": 200,
	} {
		for _, path := range []string{"/v1/models", "/nowhere"} {
			want := status
			if path == "/nowhere" && status == 200 {
				want = 404
			}
			r := w.send("GET", path, "", "Authorization", header)
			require.Equal(t, want, r.status, "%q %s", header, path)
			if want == 401 {
				_, kind, _, code := r.error(t)
				require.Equal(t, []string{"authentication_error", "invalid_api_key"}, []string{kind, code})
				require.Equal(t, "Bearer", r.header.Get("WWW-Authenticate"))
			}
		}
	}
	_, err := w.client.Models.List(t.Context())
	require.NoError(t, err)
	require.NotContains(t, w.log.String(), "sesame")
}

// TestHost is the guard against DNS rebinding.
func TestHost(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.AllowedHosts = []string{"crayon.lan"} })
	for host, ok := range map[string]bool{
		"localhost": true, "LOCALHOST:1234": true, "127.0.0.1:80": true, "[::1]:8080": true, "127.3.2.1": true, "crayon.lan": true, "Crayon.LAN:99": true, "localhost.": true,
		"evil.example": false, "evil.example:8080": false, "localhost.evil.example": false, "127.0.0.1.evil.example": false,
		"192.168.1.5": false, "[2001:db8::1]": false, "0.0.0.0": false, "notcrayon.lan": false, "localhost@evil.example": false,
	} {
		r := w.send("GET", "/v1/models", "", "Host", host)
		if ok {
			require.Equal(t, http.StatusOK, r.status, host)
			continue
		}
		require.Equal(t, http.StatusForbidden, r.status, host)
		_, _, _, code := r.error(t)
		require.Equal(t, "host_not_allowed", code)
	}
	// Where other machines may ask, they use an address; a name still has to
	// be allowed.
	wide := w.server.hosts(address{wide: true})
	for host, ok := range map[string]bool{"192.168.1.5:8080": true, "[2001:db8::1]": true, "localhost": true, "crayon.lan": true, "evil.example": false, "": false} {
		require.Equal(t, ok, wide(host), host)
	}
}

func TestOrigin(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.AllowedOrigins = []string{"http://localhost:3000"}; o.Key = "sesame" })
	key := []string{"Authorization", "Bearer sesame"}
	for _, c := range []struct {
		headers []string
		ok      bool
	}{
		{nil, true},
		{[]string{"Origin", w.http.URL}, true},
		{[]string{"Origin", "http://localhost:3000"}, true},
		{[]string{"Origin", "http://localhost:3001"}, false},
		{[]string{"Origin", "https://evil.example"}, false},
		{[]string{"Origin", "null"}, false},
		{[]string{"Sec-Fetch-Site", "cross-site"}, false},
		{[]string{"Sec-Fetch-Site", "same-site"}, false},
		{[]string{"Sec-Fetch-Site", "same-origin"}, true},
		{[]string{"Sec-Fetch-Site", "none"}, true},
		{[]string{"Sec-Fetch-Site", "cross-site", "Origin", "http://localhost:3000"}, true},
	} {
		for _, send := range []func() response{
			func() response { return w.post(chatPath, ask(base, "why", ""), append(key, c.headers...)...) },
			func() response { return w.send("GET", "/v1/models", "", append(key, c.headers...)...) },
		} {
			r := send()
			if c.ok {
				require.Equal(t, http.StatusOK, r.status, c.headers)
			} else {
				require.Equal(t, http.StatusForbidden, r.status, c.headers)
				require.Empty(t, r.header.Get("Access-Control-Allow-Origin"))
			}
		}
	}
	// A page that is allowed may ask, and read, and says so beforehand.
	r := w.send("OPTIONS", chatPath, "", "Origin", "http://localhost:3000", "Access-Control-Request-Method", "POST")
	require.Equal(t, http.StatusNoContent, r.status)
	require.Equal(t, "http://localhost:3000", r.header.Get("Access-Control-Allow-Origin"))
	require.Contains(t, r.header.Get("Access-Control-Allow-Headers"), "Authorization")
	r = w.send("OPTIONS", chatPath, "", "Origin", "https://evil.example", "Access-Control-Request-Method", "POST")
	require.Equal(t, http.StatusForbidden, r.status)
}

func TestBodyLimit(t *testing.T) {
	w := newWorld(t, nil)
	for _, path := range []string{chatPath, rawPath} {
		r := w.post(path, `{"model":"tiny","prompt":"`+strings.Repeat("x", maxBody)+`"}`)
		require.Equal(t, http.StatusRequestEntityTooLarge, r.status)
		_, _, _, code := r.error(t)
		require.Equal(t, "request_too_large", code)
	}
	// One that does not say its length.
	req, err := http.NewRequestWithContext(t.Context(), "POST", w.http.URL+chatPath, io.MultiReader(bytes.NewReader(make([]byte, maxBody)), strings.NewReader("x")))
	require.NoError(t, err)
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	require.Equal(t, http.StatusRequestEntityTooLarge, res.StatusCode)
}

func TestWrongPathAndMethod(t *testing.T) {
	w := newWorld(t, nil)
	r := w.send("GET", chatPath, "")
	require.Equal(t, http.StatusMethodNotAllowed, r.status)
	require.Equal(t, "POST", r.header.Get("Allow"))
	message, _, _, _ := r.error(t)
	require.Contains(t, message, "POST")
	r = w.send("DELETE", "/v1/models/tiny", "")
	require.Equal(t, http.StatusMethodNotAllowed, r.status)
	r = w.send("GET", "/v1/engines", "")
	require.Equal(t, http.StatusNotFound, r.status)
	message, _, _, _ = r.error(t)
	require.Contains(t, message, "/v1/models")
}

// TestLog: one line a request, by id, that does not repeat what was said.
func TestLog(t *testing.T) {
	w := newWorld(t, nil)
	r := w.post(chatPath, ask("tiny+mine", "my secret is 4711", ""), "X-Request-Id", "mine-1")
	require.Equal(t, "mine-1", r.header.Get("X-Request-Id"))
	said := content0(t, r)
	r = w.post(chatPath, ask("tiny+mine", "my secret is 4711", `,"stop":7`), "X-Request-Id", "bad id with spaces")
	require.NotEqual(t, "bad id with spaces", r.header.Get("X-Request-Id"))
	w.post(rawPath, `{"model":"tiny","prompt":"my secret is 4711"}`)
	lines := strings.Split(strings.TrimSpace(w.log.String()), "\n")
	require.Len(t, lines, 3)
	require.NotContains(t, w.log.String(), "4711")
	require.NotContains(t, w.log.String(), said)
	var line map[string]any
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &line))
	require.Equal(t, "mine-1", line["id"])
	require.Equal(t, "device", line["route"])
	require.Equal(t, "in-scope", line["reason"])
	require.Equal(t, "tiny+mine", line["model"])
	require.EqualValues(t, 200, line["status"])
}

// TestPanic: one request's fault is not the others'.
func TestPanic(t *testing.T) {
	w := newWorld(t, nil)
	w.http.Config.Handler = w.server.observe(w.server.reply(func(rw http.ResponseWriter, r *http.Request) error {
		if r.URL.Path == "/late" {
			rw.WriteHeader(http.StatusOK)
			_, _ = rw.Write([]byte("half"))
			_ = http.NewResponseController(rw).Flush()
		}
		panic("secret detail")
	}))
	r := w.send("GET", "/", "")
	require.Equal(t, http.StatusInternalServerError, r.status)
	require.NotContains(t, r.body, "secret")
	require.Contains(t, w.log.String(), "secret detail")
	res, err := http.Get(w.http.URL + "/late")
	require.NoError(t, err)
	defer res.Body.Close()
	_, err = io.ReadAll(res.Body)
	require.Error(t, err, "half a response looks whole")
}

func TestNewRefuses(t *testing.T) {
	w := newWorld(t, nil)
	for name, change := range map[string]func(*Options){
		"no hybrid": func(o *Options) { o.Hybrid = nil }, "no folder": func(o *Options) { o.Customisations = nil },
		"no name": func(o *Options) { o.ModelName = "" }, "plus": func(o *Options) { o.ModelName = "a+b" },
		"key": func(o *Options) { o.Key = "line\nend" }, "origin": func(o *Options) { o.AllowedOrigins = []string{"localhost"} },
	} {
		o := w.server.opt
		change(&o)
		_, err := New(o)
		require.Error(t, err, name)
		require.Equal(t, fault.ExitUsage, fault.Code(err), name)
	}
}

func TestWhereToListen(t *testing.T) {
	w := newWorld(t, nil)
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0"} {
		err := w.server.ListenAndServe(t.Context(), addr, nil)
		require.ErrorContains(t, err, "no key", addr)
		require.Equal(t, fault.ExitUsage, fault.Code(err), addr)
		require.Contains(t, fault.Hint(err), "127.0.0.1", addr)
	}
	for _, addr := range []string{"", "8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:nope", "evil.example:80", "127.0.0.1:99999"} {
		err := w.server.ListenAndServe(t.Context(), addr, nil)
		require.Error(t, err, addr)
		require.Equal(t, fault.ExitUsage, fault.Code(err), addr)
		require.NotEmpty(t, fault.Hint(err), addr)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	err = w.server.ListenAndServe(t.Context(), taken.Addr().String(), nil)
	require.ErrorContains(t, err, "another program listens there")
	require.Equal(t, "crayon serve --addr 127.0.0.1:0", fault.Hint(err))
	require.NotErrorIs(t, err, os.ErrNotExist)
}

// TestShutdown: an answer under way ends whole, then no more are taken.
func TestShutdown(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Key = "sesame" })
	for _, addr := range []string{"127.0.0.1:0", "localhost:0", "0.0.0.0:0"} {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		ready, ended := make(chan string, 1), make(chan error, 1)
		go func() { ended <- w.server.ListenAndServe(ctx, addr, func(a string) { ready <- a }) }()
		_, port, err := net.SplitHostPort(<-ready)
		require.NoError(t, err)
		url := "http://127.0.0.1:" + port
		req, err := http.NewRequestWithContext(t.Context(), "POST", url+chatPath, strings.NewReader(ask(base, "why", `,"stream":true`)))
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer sesame")
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, res.StatusCode)
		require.Equal(t, "device", res.Header.Get(route.HeaderRoute))
		stop()
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		res.Body.Close()
		require.Contains(t, string(body), "[DONE]")
		select {
		case err := <-ended:
			require.NoError(t, err)
		case <-time.After(10 * time.Second):
			t.Fatal("it does not end")
		}
		_, err = http.Get(url + "/healthz")
		require.Error(t, err)
	}
}
