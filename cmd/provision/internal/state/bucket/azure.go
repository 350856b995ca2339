package bucket

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
)

// azureStore is a store in Azure Blob Storage.
type azureStore struct {
	container *container.Client
	transport *http.Client
}

// openAzure makes an azureStore of the environment, and tells whether the endpoint is Azure's own.
func openAzure(l location) (store, bool, error) {
	account := cmp.Or(l.query.Get("account"), os.Getenv("AZURE_STORAGE_ACCOUNT"))
	endpoint := l.query.Get("endpoint")
	if account == "" && endpoint == "" {
		return nil, false, &URLError{URL: l.url, Why: "no storage account is named: add ?account=… to it, or set AZURE_STORAGE_ACCOUNT"}
	}
	if strings.Trim(account, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return nil, false, &URLError{URL: l.url, Why: fmt.Sprintf("%q is no storage account's name: it has lower-case letters and digits", account)}
	}
	base := cmp.Or(endpoint, "https://"+account+".blob.core.windows.net")
	s := &azureStore{transport: &http.Client{Transport: newTransport()}}
	options := &container.ClientOptions{ClientOptions: policy.ClientOptions{
		Transport: s.transport, Retry: policy.RetryOptions{MaxRetries: -1},
	}}
	if err := s.connect(strings.TrimRight(base, "/")+"/"+url.PathEscape(l.bucket), account, options); err != nil {
		return nil, false, &CredentialsError{URL: l.url, Hint: azureChain, Trouble: Missing, Err: err}
	}
	return s, endpoint == "", nil
}

// connect makes the client with the first credentials that the environment names.
func (s *azureStore) connect(url, account string, options *container.ClientOptions) (err error) {
	if key := os.Getenv("AZURE_STORAGE_KEY"); key != "" {
		shared, err := container.NewSharedKeyCredential(account, key)
		if err != nil {
			return errors.New("AZURE_STORAGE_KEY holds no key") // the error may repeat it
		}
		s.container, err = container.NewClientWithSharedKeyCredential(url, shared, options)
		return err
	}
	if sas := os.Getenv("AZURE_STORAGE_SAS_TOKEN"); sas != "" {
		s.container, err = container.NewClientWithNoCredential(url+"?"+strings.TrimPrefix(sas, "?"), options)
		return err
	}
	chain, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		return err
	}
	s.container, err = container.NewClient(url, azureCredentials{chain}, options)
	return err
}

func (s *azureStore) get(ctx context.Context, key string) (object, error) {
	out, err := s.container.NewBlobClient(key).DownloadStream(ctx, nil)
	if err != nil {
		return object{}, s.failure(err)
	}
	defer out.Body.Close()
	body, err := io.ReadAll(out.Body)
	if err != nil {
		return object{}, unanswered(err)
	}
	return object{body, revisionOf(out.ETag), azureMark(out.Metadata)}, nil
}

func (s *azureStore) stat(ctx context.Context, key string) (object, error) {
	out, err := s.container.NewBlobClient(key).GetProperties(ctx, nil)
	if err != nil {
		return object{}, s.failure(err)
	}
	return object{revision: revisionOf(out.ETag), mark: azureMark(out.Metadata)}, nil
}

func (s *azureStore) put(ctx context.Context, key string, o object) (Revision, error) {
	out, err := s.container.NewBlockBlobClient(key).Upload(ctx, streaming.NopCloser(bytes.NewReader(o.body)), &blockblob.UploadOptions{
		Metadata:                map[string]*string{markWrite: &o.mark.write, markOver: to.Ptr(string(o.mark.over))},
		TransactionalValidation: blob.TransferValidationTypeComputeCRC64(),
		AccessConditions:        azureCondition(o.mark.over),
	})
	if err != nil {
		return "", s.failure(err)
	}
	return revisionOf(out.ETag), nil
}

func (s *azureStore) remove(ctx context.Context, key string, was Revision) error {
	_, err := s.container.NewBlobClient(key).Delete(ctx, &blob.DeleteOptions{AccessConditions: azureCondition(was)})
	if err != nil {
		return s.failure(err)
	}
	return nil
}

func (s *azureStore) list(ctx context.Context, prefix, page string) (keys []string, next string, err error) {
	options := &container.ListBlobsFlatOptions{Prefix: &prefix, MaxResults: to.Ptr(int32(1000))}
	if page != "" {
		options.Marker = &page
	}
	out, err := s.container.NewListBlobsFlatPager(options).NextPage(ctx)
	if err != nil {
		return nil, "", s.failure(err)
	}
	for _, b := range out.Segment.BlobItems {
		if b.Name != nil {
			keys = append(keys, *b.Name)
		}
	}
	if out.NextMarker != nil {
		next = *out.NextMarker
	}
	return keys, next, nil
}

// azureChain tells where credentials are looked for.
const azureChain = "Azure credentials are taken from AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN, or, in Azure's default chain, from AZURE_CLIENT_ID and what belongs to it, a workload's or the machine's identity, or `az login`."

func (s *azureStore) permission(op string) string {
	if op == "" {
		return azureChain
	}
	return "the role Storage Blob Data Contributor on the container, and a way through the account's firewall"
}

func (s *azureStore) close() { s.transport.CloseIdleConnections() }

// failure reads an error of the SDK: first Azure's own code, then the status.
func (s *azureStore) failure(err error) *failure {
	answer, ok := errors.AsType[*azcore.ResponseError](err)
	if !ok {
		f := unanswered(err)
		var final interface{ NonRetriable() }
		if f.kind == busy && errors.As(err, &final) {
			f.kind = refused
		}
		return f
	}
	var header http.Header
	if answer.RawResponse != nil {
		header = answer.RawResponse.Header
	}
	f := answered(answer.StatusCode, header, fmt.Errorf("%s (status %d)", cmp.Or(answer.ErrorCode, "no error code"), answer.StatusCode))
	switch code := bloberror.Code(answer.ErrorCode); code {
	case bloberror.ContainerNotFound, bloberror.ContainerBeingDeleted, bloberror.ContainerDisabled, bloberror.AccountIsDisabled:
		f.kind = noBucket
	case bloberror.BlobAlreadyExists:
		f.kind = changed
	case bloberror.NoAuthenticationInformation:
		f.kind, f.trouble = stranger, Missing
	case bloberror.AuthenticationFailed, bloberror.InvalidAuthenticationInfo:
		f.kind = stranger
	case bloberror.SnapshotsPresent, bloberror.BlobImmutableDueToPolicy, bloberror.InvalidBlobType:
		f.kind = refused
	default:
		if strings.HasPrefix(string(code), "Lease") {
			f.kind = refused // somebody put a lease of Azure's on the object; it must be broken by whoever did
		}
	}
	return f
}

// revisionOf is an ETag as a revision.
func revisionOf(etag *azcore.ETag) Revision {
	if etag == nil {
		return ""
	}
	return Revision(*etag)
}

// azureMark reads a mark. The names of metadata come back in whatever case HTTP gave them.
func azureMark(metadata map[string]*string) (m mark) {
	for name, v := range metadata {
		switch {
		case v == nil:
		case strings.EqualFold(name, markWrite):
			m.write = *v
		case strings.EqualFold(name, markOver):
			m.over = Revision(*v)
		}
	}
	return m
}

// azureCondition is that an object is at the revision.
func azureCondition(was Revision) *blob.AccessConditions {
	if was == "" {
		return &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: to.Ptr(azcore.ETagAny)}}
	}
	return &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfMatch: to.Ptr(azcore.ETag(was))}}
}

// azureCredentials marks the errors of a source of credentials.
type azureCredentials struct{ azcore.TokenCredential }

// GetToken implements azcore.TokenCredential.
func (c azureCredentials) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	token, err := c.TokenCredential.GetToken(ctx, o)
	if err != nil {
		return token, &credentialFailure{err}
	}
	return token, nil
}

// newTransport is Go's default one, but one's own: its connections can be closed without touching anybody else's.
func newTransport() *http.Transport {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return &http.Transport{Proxy: http.ProxyFromEnvironment}
	}
	t = t.Clone()
	t.DisableCompression = true
	return t
}
