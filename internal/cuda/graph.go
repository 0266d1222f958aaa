//go:build linux && (amd64 || arm64)

package cuda

import "unsafe"

// Graph is work of a stream, recorded once to be given again at little cost.
// Addresses and arguments are those of the recording.
type Graph struct {
	device     *Device
	executable uintptr
}

// Capture records what f gives to the stream, without running it. f must not
// wait, take memory, upload from Go's memory or download.
func (s *Stream) Capture(f func() error) (*Graph, error) {
	c := &s.device.driver.calls
	const threadLocal = 1
	if err := s.check("record GPU work", call(c.capture, s.handle, threadLocal)); err != nil {
		return nil, err
	}
	failed := f()
	var graph uintptr
	// Also after an error: the stream must leave the recording.
	err := s.check("record GPU work", call(c.captureEnd, s.handle, uintptr(unsafe.Pointer(&graph))))
	if graph != 0 {
		defer call(c.graphDestroy, graph)
	}
	if failed != nil {
		return nil, failed
	}
	if err != nil {
		return nil, err
	}
	g := &Graph{device: s.device}
	if err := s.check("record GPU work", call(c.instantiate, uintptr(unsafe.Pointer(&g.executable)), graph, 0)); err != nil {
		return nil, err
	}
	return g, nil
}

// Launch gives the recorded work to a stream.
func (g *Graph) Launch(s *Stream) error {
	return s.check("repeat GPU work", call(s.device.driver.calls.graphLaunch, g.executable, s.handle))
}

// Close drops the recording; it is not running.
func (g *Graph) Close() error {
	if g == nil || g.executable == 0 {
		return nil
	}
	d := g.device.driver
	err := d.check("drop GPU work", call(d.calls.execDestroy, g.executable))
	g.executable = 0
	return err
}
