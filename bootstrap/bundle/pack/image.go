package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// ref is the image's name with its tag.
func (i *image) ref(version string) string {
	if i.tag != "" {
		version = i.tag
	}
	return i.name + ":" + version
}

// assemble makes an OCI archive that containerd imports: one program on an empty base. The layer is not compressed,
// because the bundle is.
func (i *image) assemble(program, binary, version, arch string) (archive []byte, digest string, err error) {
	layer, err := rootfs(program, binary)
	if err != nil {
		return nil, "", err
	}
	config := &v1.ConfigFile{
		Architecture: arch,
		OS:           "linux",
		Config: v1.Config{
			User:       i.user,
			Env:        []string{"PATH=/"},
			Entrypoint: []string{"/" + program},
			WorkingDir: "/",
			Labels:     map[string]string{"org.opencontainers.image.version": version},
		},
	}
	img, err := mutate.ConfigFile(mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1), config)
	if err != nil {
		return nil, "", err
	}
	img, err = mutate.AppendLayers(img, static.NewLayer(layer, types.OCIUncompressedLayer))
	if err != nil {
		return nil, "", err
	}
	return ociArchive(img, layer, i.ref(version))
}

// rootfs is the layer: the program and a /tmp that everybody may write to, as in the bases that upstream builds on.
func rootfs(program, binary string) ([]byte, error) {
	data, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	entries := []struct {
		header tar.Header
		data   []byte
	}{
		{header: tar.Header{Typeflag: tar.TypeReg, Name: program, Mode: 0o755, Size: int64(len(data))}, data: data},
		{header: tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}},
	}
	for _, e := range entries {
		if err := w.WriteHeader(&e.header); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), w.Close()
}

// ociArchive is an OCI image layout in a tar archive. Two annotations carry the name: containerd reads the first and
// other tools the second.
func ociArchive(img v1.Image, layer []byte, ref string) (archive []byte, digest string, err error) {
	manifest, err := img.RawManifest()
	if err != nil {
		return nil, "", err
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return nil, "", err
	}
	hash, err := img.Digest()
	if err != nil {
		return nil, "", err
	}
	parsed, err := img.Manifest()
	if err != nil {
		return nil, "", err
	}
	index, err := json.Marshal(v1.IndexManifest{
		SchemaVersion: 2,
		MediaType:     types.OCIImageIndex,
		Manifests: []v1.Descriptor{{
			MediaType: types.OCIManifestSchema1, Digest: hash, Size: int64(len(manifest)),
			Annotations: map[string]string{"io.containerd.image.name": ref, "org.opencontainers.image.ref.name": ref},
		}},
	})
	if err != nil {
		return nil, "", err
	}
	blob := func(h v1.Hash) string { return fmt.Sprintf("blobs/%s/%s", h.Algorithm, h.Hex) }
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range []struct {
		name string
		data []byte
	}{
		{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{"index.json", index},
		{blob(hash), manifest},
		{blob(parsed.Config.Digest), config},
		{blob(parsed.Layers[0].Digest), layer},
	} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: 0o644, Size: int64(len(f.data))}); err != nil {
			return nil, "", err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, "", err
		}
	}
	return buf.Bytes(), hash.String(), w.Close()
}
