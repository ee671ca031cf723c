#!/bin/sh
# Makes the stores beside this script anew: keytool of a JDK 17, and openssl. Password: changeit.
set -eu
cd "$(dirname "$0")"
rm -f ./*.jks ./*.p12 ./*.pem
pair() { # alias, store, type, algorithm …
  alias=$1 store=$2 type=$3; shift 3
  keytool -genkeypair -alias "$alias" -dname "CN=$alias" -validity 36500 \
    -ext san=dns:node.example,ip:127.0.0.1 -keystore "$store" -storetype "$type" \
    -storepass changeit -keypass changeit "$@" 2>/dev/null
}
pair rsa rsa.jks JKS -keyalg RSA -keysize 2048
pair rsa rsa.p12 PKCS12 -keyalg RSA -keysize 2048
pair ec ec.p12 PKCS12 -keyalg EC -groupname secp256r1
pair one two-keys.p12 PKCS12 -keyalg EC -groupname secp256r1
pair two two-keys.p12 PKCS12 -keyalg EC -groupname secp256r1
cp rsa.jks own-password.jks
keytool -keypasswd -alias rsa -keystore own-password.jks -storepass changeit -keypass changeit \
  -new another-word 2>/dev/null
keytool -exportcert -rfc -alias rsa -keystore rsa.jks -storepass changeit -file cert.pem 2>/dev/null
for type in JKS PKCS12; do
  store=trust.$(echo $type | tr A-Z a-z | sed s/pkcs12/p12/)
  keytool -importcert -noprompt -alias rsa -file cert.pem -keystore "$store" -storetype $type \
    -storepass changeit 2>/dev/null
done
keytool -importkeystore -srckeystore rsa.jks -srcstorepass changeit -destkeystore tmp.p12 \
  -deststoretype PKCS12 -deststorepass changeit 2>/dev/null
openssl pkcs12 -in tmp.p12 -passin pass:changeit -nodes -nocerts 2>/dev/null |
  openssl pkey -out pkcs8.pem
openssl pkey -in pkcs8.pem -traditional -out pkcs1.pem
openssl pkcs8 -topk8 -in pkcs8.pem -passout pass:changeit -out locked.pem
openssl ecparam -name prime256v1 -genkey -noout -out sec1.pem
openssl req -x509 -key sec1.pem -subj /CN=ec -days 36500 -addext subjectAltName=DNS:node.example \
  -out sec1-cert.pem
openssl pkcs12 -export -in sec1-cert.pem -inkey sec1.pem -passout pass:changeit -out openssl.p12
rm tmp.p12
