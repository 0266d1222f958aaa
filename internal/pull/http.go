package pull

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"crayon/internal/fault"
	"crayon/internal/upstream"
)

// maxRetryAfter is the longest a source's wish to wait is followed.
const maxRetryAfter = 30 * time.Second

var errStalled = errors.New("nothing came for too long")

// refused is an answer that trying again does not change.
type refused struct {
	err  error
	hint string
	exit int
}

func (e *refused) Error() string { return e.err.Error() }
func (e *refused) Unwrap() error { return e.err }

// later is an answer after which to try again.
type later struct {
	err  error
	wait time.Duration // 0: the usual
}

func (e *later) Error() string { return e.err.Error() }
func (e *later) Unwrap() error { return e.err }

// http downloads one part, going on where an attempt broke off as long as the
// source's ETag says that it is the same file. Attempts that bring bytes do
// not count against the tries.
func (d *download) http(ctx context.Context, u URI, address string) error {
	for try := 1; ; {
		n, err := d.request(ctx, u, address)
		if err == nil {
			return nil
		}
		var no *refused
		var disk *errWrite
		var wait *later
		var told *fault.Error
		switch {
		case ctx.Err() != nil:
			return &fault.Error{Op: "pull", Path: u.String(), Err: ctx.Err(), Hint: "crayon pull again goes on where it stopped"}
		case errors.As(err, &disk):
			return d.fault(disk.err)
		case errors.As(err, &no):
			return &fault.Error{Op: "pull", Path: u.String(), Err: no.err, Hint: cmp.Or(no.hint, "check the address, or order another source first with CRAYON_SOURCES"), Exit: no.exit}
		case errors.As(err, &told):
			return err // a refusal of the gate, or the ledger
		}
		if n > 0 {
			try = 1
		}
		if try >= d.p.o.Tries || unreachable(err) && try >= 2 {
			return &fault.Error{Op: "pull", Path: u.String(), Err: why(err), Hint: "check the network, or order another source first with CRAYON_SOURCES"}
		}
		pause := d.p.o.Backoff << (try - 1)
		pause = pause/2 + rand.N(pause/2+1)
		if errors.As(err, &wait) && wait.wait > 0 {
			if wait.wait > maxRetryAfter {
				return &fault.Error{Op: "pull", Path: u.String(), Err: fmt.Errorf("%w; it asks to wait %s", wait.err, wait.wait), Hint: "try again later, or order another source first with CRAYON_SOURCES"}
			}
			pause = wait.wait
		}
		try++
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
}

// unreachable says whether there was no connection at all: another source is
// then the better hope than many tries.
func unreachable(err error) bool {
	var dns *net.DNSError
	var op *net.OpError
	return errors.As(err, &dns) || errors.As(err, &op) && op.Op == "dial"
}

// why takes the address, whose query may be secret, off an error of net/http.
func why(err error) error {
	var u interface {
		error
		Unwrap() error
		Timeout() bool
	}
	if errors.Is(err, errStalled) {
		return errStalled
	}
	if errors.As(err, &u) {
		return u.Unwrap()
	}
	return err
}

// request makes one request and appends what it brings; n is how many new
// bytes were kept.
func (d *download) request(ctx context.Context, u URI, address string) (n int64, err error) {
	ctx, cancel := context.WithCancelCause(upstream.WithWhy(ctx, "pull "+d.job.name))
	defer cancel(nil)
	stall := time.AfterFunc(d.p.o.Stall, func() { cancel(errStalled) })
	defer stall.Stop()
	defer func() {
		if err != nil && errors.Is(context.Cause(ctx), errStalled) {
			err = errStalled
		}
	}()

	size, err := d.size()
	if err != nil {
		return 0, &errWrite{err}
	}
	offset := size - d.state.Base
	if d.state.ETag == "" {
		offset = 0
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, &refused{err: errors.New("not an address")}
	}
	req.Header.Set("User-Agent", "crayon")
	req.Header.Set("Accept-Encoding", "identity") // bytes as they are, so that ranges mean the file's
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
		req.Header.Set("If-Range", d.state.ETag)
	}
	client := d.p.o.Gate.Client("pull")
	follow := client.CheckRedirect
	announced := ""
	client.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		announced = pick(announced, hubDigest(req.Response.Header))
		return follow(req, via)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	announced = pick(announced, hubDigest(resp.Header))

	switch {
	case resp.StatusCode == http.StatusPartialContent && offset > 0 && rangeStart(resp.Header.Get("Content-Range")) == offset:
	case resp.StatusCode == http.StatusOK:
		offset = 0
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && offset > 0 && resp.Header.Get("Content-Range") == fmt.Sprintf("bytes */%d", offset):
		return 0, nil // all of it was there already
	case resp.StatusCode == http.StatusPartialContent, resp.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		// It can't go on where we are: begin anew.
		if err := d.restart(); err != nil {
			return 0, &errWrite{err}
		}
		return 0, &later{err: fmt.Errorf("the source can't go on from byte %d (status %d)", offset, resp.StatusCode)}
	default:
		return 0, statusError(resp)
	}
	if offset == 0 {
		d.resumed = d.state.Base > 0 && d.resumed
		if err := d.truncate(d.state.Base); err != nil {
			return 0, &errWrite{err}
		}
	}
	if media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); media == "text/html" {
		return 0, &refused{err: errors.New("the answer is a web page, not a file"), hint: "is there a sign-in page between this machine and the network?"}
	}
	have := d.state.Base + offset
	total := int64(0)
	if resp.ContentLength >= 0 {
		total = have + resp.ContentLength
		whole := len(d.src.URIs) == 1
		if whole && d.job.bytes > 0 && total != d.job.bytes {
			return 0, &refused{err: d.wrongSize(total), exit: fault.ExitVerify}
		}
		if resp.ContentLength > d.room(have) {
			return 0, &refused{err: fmt.Errorf("%d bytes, more than are allowed", total)}
		}
		if !whole {
			total = 0 // of this part only
		}
	}
	d.state.ETag = ""
	if tag := resp.Header.Get("ETag"); strings.HasPrefix(tag, `"`) && len(tag) < 256 {
		d.state.ETag = tag
	}
	if u.Scheme == HF && len(d.src.URIs) == 1 && d.job.sha256 == "" && announced != "" {
		d.want, d.state.Want = announced, announced
	}
	if err := d.save(); err != nil {
		return 0, &errWrite{err}
	}
	n, err = d.append(resp.Body, d.room(have), total, Downloading, func() { stall.Reset(d.p.o.Stall) })
	if errors.Is(err, errTooMany) {
		return n, &refused{err: err, exit: fault.ExitVerify}
	}
	if err == nil && resp.ContentLength >= 0 && n < resp.ContentLength {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && d.state.ETag == "" {
		n = 0 // they can't be kept
	}
	return n, err
}

func statusError(resp *http.Response) error {
	err := fmt.Errorf("status %s", resp.Status)
	switch s := resp.StatusCode; {
	case s == http.StatusTooManyRequests, s == http.StatusRequestTimeout, s >= 500:
		var wait time.Duration
		if sec, perr := strconv.Atoi(resp.Header.Get("Retry-After")); perr == nil && sec > 0 && sec < 1e6 {
			wait = time.Duration(sec) * time.Second
		}
		return &later{err, wait}
	case s == http.StatusNotFound, s == http.StatusGone:
		return &refused{err: err, hint: "check the owner, the repository, the revision and the file name"}
	case s == http.StatusUnauthorized, s == http.StatusForbidden:
		return &refused{err: err, hint: "the file needs a permission; take another source"}
	}
	return &refused{err: err}
}

// rangeStart is the first byte of a Content-Range, or -1.
func rangeStart(h string) int64 {
	h, ok := strings.CutPrefix(h, "bytes ")
	first, _, ok2 := strings.Cut(h, "-")
	n, err := strconv.ParseInt(first, 10, 64)
	if !ok || !ok2 || err != nil || n < 0 {
		return -1
	}
	return n
}

// hubDigest is the sha256 that a hub tells of a large file, in the redirect to
// its storage, or "".
func hubDigest(h http.Header) string {
	d := strings.Trim(h.Get("X-Linked-Etag"), `"`)
	if hexDigest.MatchString(d) {
		return d
	}
	return ""
}

func pick(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
