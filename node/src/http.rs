//! Reading what somebody else's server answers: to its end, and no more than is expected. Of statuses it knows nothing.

use futures_util::StreamExt as _;

/// Why an answer was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The connection broke off.
    #[error(transparent)]
    Broken(#[from] reqwest::Error),
    /// It is longer than what is expected.
    #[error("an answer of more than {0} bytes")]
    TooLarge(usize),
}

/// The body of an answer, at most so many bytes: a length that is told is not believed.
///
/// # Errors
///
/// [`ReadError`].
pub async fn body(answer: reqwest::Response, most_bytes: usize) -> Result<Vec<u8>, ReadError> {
    let mut body = Vec::new();
    let mut stream = answer.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        if body.len().saturating_add(chunk.len()) > most_bytes {
            return Err(ReadError::TooLarge(most_bytes));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    /// Serves one answer, and says where.
    fn served(answer: &'static str) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1_024]);
            let _ = stream.write_all(answer.as_bytes());
        });
        url
    }

    #[tokio::test]
    async fn an_answer_is_read_to_its_end_and_no_further_than_expected() {
        let table = [
            ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n1234", Ok("1234")),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n12345", Err("more than 4")),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n123\r\n3\r\n456\r\n0\r\n\r\n",
                Err("more than 4"),
            ),
            ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n12", Err("error")),
        ];
        for (answer, expected) in table {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let read = body(client.get(served(answer)).send().await.unwrap(), 4).await;
            match (read, expected) {
                (Ok(read), Ok(expected)) => assert_eq!(read, expected.as_bytes()),
                (Err(error), Err(said)) => assert!(error.to_string().contains(said), "{error}"),
                (read, _) => panic!("{answer:?}: {read:?}"),
            }
        }
    }
}
