package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestServer(t *testing.T) {
	t.Setenv("POD_NAME", "web-<1>")
	t.Setenv("NODE_NAME", "worker-2")
	s := newServer()
	tests := []struct {
		path, body string
		status     int
		ending     bool
	}{
		{path: "/", status: http.StatusOK, body: "web-&lt;1&gt;"},
		{path: "/", status: http.StatusOK, body: "<dd>2</dd>"},
		{path: "/healthz", status: http.StatusOK, body: "ok"},
		{path: "/healthz", status: http.StatusServiceUnavailable, body: "shutting down", ending: true},
		{path: "/work?ms=1", status: http.StatusOK, body: "worked for 1ms"},
		{path: "/work?ms=-1", status: http.StatusBadRequest, body: "ms must be"},
		{path: "/work?ms=x", status: http.StatusBadRequest, body: "ms must be"},
		{path: "/work?ms=99999999", status: http.StatusBadRequest, body: "ms must be"},
		{path: "/none", status: http.StatusNotFound},
	}
	for _, test := range tests {
		s.ending.Store(test.ending)
		w := httptest.NewRecorder()
		s.handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, test.path, nil))
		if w.Code != test.status || !strings.Contains(w.Body.String(), test.body) {
			t.Errorf("%s: got %d %q, want %d with %q", test.path, w.Code, w.Body, test.status, test.body)
		}
	}
}
